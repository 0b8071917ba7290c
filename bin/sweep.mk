# == Sweep: how much of a score is luck?
# The same model asked again with other seeds and temperatures, and, with
# TRAIN_SEEDS, the same experiment trained again, each in a folder of its own. The first score of
# Phase 33b was one draw.
#
#   make sweep SEEDS="0 1 2" TEMPERATURES="0 0.7"
#   make sweep TRAIN_SEEDS="0 1 2"

SEEDS ?= $(EVAL_SEED)
TEMPERATURES ?= $(EVAL_TEMPERATURE)
# At temperature 0 nothing is drawn: one seed says all.
SWEEP = $(foreach t,$(TEMPERATURES),$(foreach s,$(if $(filter 0 0.0,$(t)),$(firstword $(SEEDS)),$(SEEDS)),$(BUILD)/sweep/seed-$(s)-temperature-$(t).json))

$(BUILD)/sweep/seed-%.json: $(if $(filter sweep,$(STALE)),FORCE) | $(SUITE) $(TARGETS) $(BUILD)/logs $(if $(OURS),$(BUILD)/$(SERVED) $(BUILD)/q5)
	@mkdir -p $(@D)
	@bin/stages.sh begin sweep $@ "$(if $(OURS),$(BUILD)/$(SERVED),$(EVAL_URL)) with seed $*"
	$(LOG) $(BUILD)/logs/sweep.log $(EVALUATE) --seed $(word 1,$(subst -temperature-, ,$*)) --temperature $(word 2,$(subst -temperature-, ,$*)) \
		--experiment $(EXPERIMENT) $(ASKED) --server-log $(BUILD)/logs/server.log --out $@
	@bin/stages.sh finish sweep $@

ifneq ($(strip $(TRAIN_SEEDS)),)
sweep:
	@for seed in $(TRAIN_SEEDS); do \
		$(MAKE) --no-print-directory sweep TRAIN_SEEDS= SEED=$$seed BUILD=$(BUILD)/sweep/train-$$seed || exit $$?; \
	done
	@jq --slurp --raw-output --from-file bin/sweep.jq $(foreach s,$(TRAIN_SEEDS),$(subst $(BUILD)/,$(BUILD)/sweep/train-$(s)/,$(SWEEP)))
else
sweep: $(SWEEP) ## SEEDS="0 1" TEMPERATURES="0 0.7" TRAIN_SEEDS="0 1"
	@echo; jq --slurp --raw-output --from-file bin/sweep.jq $(SWEEP)
endif

.PHONY: sweep
