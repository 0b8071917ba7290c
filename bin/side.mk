# What is not on the way from data to score.

# == Look: what there is, what would run, whether it is what it was

# The outputs that `make -n eval` would make.
TO_MAKE = $(MAKE) -n --no-print-directory eval | sed -n -e 's/^bin\/done.sh \([^ ]*\).*/\1/p' \
	-e 's/^bin\/python py\/preflight.py --out \(.*\)/\1\/preflight.ok/p'

plan: | setup $(if $(EMBEDDED),$(BUILD)/base) ## what make eval would make, how long it took, how large it is
	@$(TO_MAKE) | .venv/bin/python py/plan.py

STEPS = preflight base train quantize ladder eval eval_base compare
noted = $(shell cat $(BUILD)/made/$(step) 2>/dev/null)
# Each word that is new in a step's line, after the old word of that key.
new_words = $(foreach word,$(filter-out $(noted),$($(step))),$(filter $(firstword $(subst =, ,$(word)))=%,$(noted)) -> $(word);)

why: ## which settings differ from the last run of each step
	@$(foreach step,$(STEPS),$(if $(noted),echo "$(step): $(or $(strip $(new_words)),no setting has changed)";))
	@echo "make eval would make, for a setting or a newer file: $$($(TO_MAKE) | tr '\n' ' ')"

OUTPUTS = $(wildcard $(addprefix $(BUILD)/,base adapters adapters.training fused q5 q5-float32 quants))

status: ## what there is, how large, and the scores
	@$(if $(OUTPUTS),du -shL $(OUTPUTS),echo "$(BUILD): no model here")
	@for file in $(wildcard $(BUILD)/adapters/training.json); do jq -r \
		'"validation loss: base \(.base_val_loss * 1000 | round / 1000), best \(.best_val_loss * 1000 | round / 1000) after \(.best_iteration) iterations"' $$file; done
	@for file in $(wildcard $(BUILD)/eval.json $(BUILD)/eval_base.json); do jq -r --arg file $$file \
		'"\($$file): \(.overall * 1000 | round / 10)%, strict \(.strict_overall * 1000 | round / 10)%, \(.verdict)"' $$file; done
	@[ ! -d $(BUILD)/adapters.training ] || echo "A training runs, or broke off; make train RESUME=1 goes on with it."

runs: setup ## all results there are, in a table and on a page, runs.html
	@.venv/bin/python py/runs.py $(BUILD) build --out $(BUILD)/runs.html

gate: ## fail unless the last verdict is pass; builds nothing
	@[ -f $(BUILD)/eval.json ] || { echo "$(BUILD)/eval.json: no such file; make eval makes it" >&2; exit 2; }
	@jq -r '"verdict: \(.verdict)"' $(BUILD)/eval.json
	@jq -e '.verdict == "pass"' $(BUILD)/eval.json >/dev/null

verify: ## read every file that the manifest names: what differs?
	@.venv/bin/python py/manifest.py verify --build $(BUILD)

autopsy: setup ## which model answered? RESULT="old.json ..." of February 2026
	@$(if $(RESULT),,echo "autopsy: no file; make autopsy RESULT=old.json" >&2; exit 2;) \
		.venv/bin/python py/autopsy.py $(foreach file,$(RESULT),$(call quote,$(file)))

# == Use: the model that came out

chat: ## talk to the built model
	@[ -d $(SERVED) ] || { echo "$(SERVED): no model here; make $(SERVED) CONFIG=$(CONFIG) makes it" >&2; exit 2; }
	@bin/python -m mlx_lm chat --model $(SERVED) --temp 0 --max-tokens 512 --system-prompt "$$(jq -r .system $(SUITE))"

serve: $(SERVED) ## serve it over HTTP (EVAL_PORT, else 8080)
	bin/python py/server.py $< --port $(if $(filter 0,$(EVAL_PORT)),8080,$(EVAL_PORT))

adopt: | $(BUILD)/preflight.ok ## take ADAPTERS=folder, trained elsewhere, as those of here
	@bin/adopt.sh $(call quote,$(ADAPTERS)) $(BUILD) '$(train)'

# == Judge: a model that was not built here
# MODEL is a folder or a name on the hub. ADAPTERS is a folder of adapters on top of it, and CHECKPOINT=600 takes
# one of the numbered files there. It is asked as the build is, and nothing is written into its folder. The result
# can be a BASELINE. It is named after the last two parts of the path, or NAME.
path_name = $(notdir $(patsubst %/,%,$(dir $(abspath $(1)))))-$(notdir $(abspath $(1)))
judged_name = $(or $(NAME),$(call path_name,$(MODEL))$(if $(ADAPTERS),+$(call path_name,$(ADAPTERS)))$(CHECKPOINT:%=-%)$(BFCL:data/%.json=-%))
JUDGED = $(BUILD)/judged/$(subst ..,-,$(subst /,-,$(subst :,-,$(subst %,-,$(judged_name)))))
JUDGE = --model $(call quote,$(MODEL)) --work $(JUDGED) \
	$(if $(ADAPTERS),--adapters $(call quote,$(ADAPTERS))) $(CHECKPOINT:%=--checkpoint %)

# SUITE can be a public benchmark: a category of the Berkeley Function Calling Leaderboard, out of the package bfcl-eval.
data/bfcl_%.json: py/bfcl.py py/requirements-bfcl.lock | .venv/bfcl.installed
	.venv/bin/python $< --out $@

judge: $(if $(MODEL),$(JUDGED)/report.html) ## evaluate a model as it is: MODEL=folder-or-name ADAPTERS=folder CHECKPOINT=600
	@$(if $(MODEL),,echo "judge: name a model with MODEL=, a folder or a name on the hub" >&2; exit 2)
	@echo "BASELINE=$(JUDGED)/eval.json compares with it; $< shows every answer"
$(JUDGED)/eval.json: $(QUESTIONS) FORCE | $(BUILD)/.phase40-build $(if $(ASK_ROWS),$(ROWS))
	@mkdir -p $(@D)/logs
	bin/python py/models.py --model $(call quote,$(MODEL))
	$(EVALUATE) $(ASK_ROWS) --experiment $(notdir $(JUDGED)) $(JUDGE) \
		--server-log $(@D)/logs/server.log --out $@.tmp
	@bin/done.sh $@
$(JUDGED)/report.html: $(JUDGED)/eval.json
	bin/python py/report.py --build $(@D) --targets $(TARGETS) \
		$(addprefix --baseline ,$(filter-out $(if $(BFCL),data/baseline.json),$(wildcard $(AGAINST)))) --out $@.tmp
	@bin/done.sh $@

# == Quants: what do the bits cost?
# The fused model is quantized in other ways, and asked as a judged model is. 4-32 has 4 bits in groups of 32,
# mixed_4_6-64 is a recipe of mlx-lm (Q_RECIPE). What was asked before, by make eval too, is not asked again. The
# models stay until make clean-build: those of an 8B model take 37 GB.
VARIANTS = $(or $(QUANTS),4-64 5-64 6-64 8-64 5-32 mixed_4_6-64)
ONE_GO = $(if $(filter 1,$(LOW_MEMORY)),bin/python py/fuse_and_quantize.py --model $(BUILD)/base --adapter-path)
TRIED = $(VARIANTS:%=$(BUILD)/judged/bits-%)

quants: $(BUILD)/quants.md ## size, loss, scores and speed of each: QUANTS="4-64 mixed_4_6-64"
	@cat $<
$(BUILD)/quants.md: $(BUILD)/eval.json $(TRIED:%=%/eval.json) \
		$(if $(filter -1,$(LADDER_ROWS)),,$(TRIED:%=%/loss-$(LADDER_ROWS).json))
	@.venv/bin/python py/quants.py $(VARIANTS) --out $@.tmp
	@bin/done.sh $@
$(VARIANTS:%=$(BUILD)/quants/%): $(BUILD)/quants/%: $(if $(ONE_GO),$(BUILD)/adapters,$(BUILD)/fused) | $(BUILD)/base
	@mkdir -p $(@D)
	$(or $(ONE_GO),bin/python -m mlx_lm convert -q --hf-path) $< --mlx-path $@.tmp \
		$(if $(filter mixed%,$*),--quant-predicate,--q-bits) $(firstword $(subst -, ,$*)) --q-group-size $(lastword $(subst -, ,$*))
	@.venv/bin/python py/publish.py --model $@.tmp
	@bin/done.sh $@
$(TRIED:%=%/eval.json): $(BUILD)/judged/bits-%/eval.json: $(BUILD)/quants/% $(QUESTIONS) FORCE
	@mkdir -p $(@D)/logs
	$(EVALUATE) $(ASK_ROWS) --experiment bits-$* --model $< --work $(@D) $(if $(chosen),--chosen-rows $(SELECT_ROWS)) \
		--answers $(BUILD)/answers.jsonl --server-log $(@D)/logs/server.log --out $@.tmp
	@bin/done.sh $@
$(TRIED:%=%/loss-$(LADDER_ROWS).json): $(BUILD)/judged/bits-%/loss-$(LADDER_ROWS).json: $(BUILD)/quants/% \
		| $(BUILD)/judged/bits-%/eval.json $(filter $(BUILD)/data,$(TRAINED_ON))
	bin/python py/ladder.py --adapters $(BUILD)/adapters --q5 $(@D)/model --data $(TRAINED_ON) \
		--rows $(LADDER_ROWS) --out $@.tmp
	@bin/done.sh $@

# == Sweep: how much of a score is luck?
# The build, or a judged MODEL, is asked again with other seeds and temperatures. What was asked before, by make eval
# too, is not asked again. At temperature 0 nothing is drawn, so one seed is enough. TRAIN_SEEDS trains the
# experiment again, each seed in a folder of its own. Its models are removed when it is scored; LEAN=0 keeps them.
SWEPT = $(if $(MODEL),$(JUDGED),$(BUILD))
SWEEP = $(if $(MODEL),--experiment $(notdir $(JUDGED)) $(JUDGE),--experiment $(EXPERIMENT) $(ASKED))
DRAWS = $(foreach t,$(or $(TEMPERATURES),$(EVAL_TEMPERATURE)),$(foreach s,$(if $(filter 0 0.0,$(t)),$(EVAL_SEED),\
	$(or $(SEEDS),$(EVAL_SEED))),$(SWEPT)/sweep/seed-$(s)-temperature-$(t).json))
TRAINED = $(TRAIN_SEEDS:%=$(BUILD)/sweep/train-%)

sweep: $(SWEPT)/sweep.md ## ask again: SEEDS="0 1" TEMPERATURES="0 0.7" TRAIN_SEEDS="0 1"; or MODEL=
	@cat $<
$(SWEPT)/sweep.md: $(or $(TRAINED:%=%/sweep.md),$(DRAWS))
	@.venv/bin/python py/sweep.py --out $@.tmp \
		$(or $(foreach folder,$(TRAINED),$(DRAWS:$(BUILD)/%=$(folder)/%)),$(DRAWS))
	@bin/done.sh $@
$(SWEPT)/sweep/seed-%.json: $(if $(MODEL)$(filter-out none,$(EVAL_URL)),,$(BUILD)/q5 $(SERVED)) $(SUITE) FORCE \
		| $(BUILD)/.phase40-build
	@mkdir -p $(@D) $(SWEPT)/logs
	$(if $(MODEL),bin/python py/models.py --model $(call quote,$(MODEL)))
	$(EVALUATE) --seed $(firstword $(subst -, ,$*)) --temperature $(lastword $(subst -, ,$*)) $(SWEEP) \
		--answers $(SWEPT)/answers.jsonl --server-log $(SWEPT)/logs/server.log --out $@.tmp
	@bin/done.sh $@
$(BUILD)/sweep/train-%/sweep.md: FORCE
	@$(MAKE) --no-print-directory sweep TRAIN_SEEDS= SEED=$* BUILD=$(@D)
	@$(if $(filter 0,$(LEAN)),,bin/clean.sh $(@D) models)

# == Develop: for those who work on the recipe itself

test: lint .venv/embedded.installed .venv/bfcl.installed ## lint, unit tests, the whole pipeline on a tiny model
	OPENBLAS_NUM_THREADS=1 bin/python -m pytest -n 2 --dist loadfile $(PYTEST)

lint: .venv/dev.installed ## ruff, shellcheck, and what macOS lacks
	.venv/bin/ruff check py tests data/demo
	.venv/bin/ruff format --check py tests data/demo
	.venv/bin/shellcheck bin/*.sh bin/python bin/native/g++ .ci/run
	bin/python tests/lint_portability.py Makefile bin/*.mk bin/*.sh bin/python bin/native/g++ .ci/run

lock: .venv/dev.installed ## write the locks anew from py/*.in
	for group in requirements requirements-dev requirements-embedded requirements-bfcl requirements-cuda12 requirements-cuda13; do \
		.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
			--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
			$$(grep -q no-deps py/$$group.in && echo --no-deps) py/$$group.in -o py/$$group.lock || exit 1; done

picture: ## the README's image: the report of CONFIG, drawn by a headless Chromium
	chromium --headless $(if $(filter 0,$(shell id -u)),--no-sandbox) --hide-scrollbars --window-size=840,1140 \
		--force-device-scale-factor=0.8 --screenshot=$(CURDIR)/data/demo/report.png file://$(abspath $(BUILD)/report.html)

test-faults: setup ## kill twenty builds at random moments, finish each, compare
	bin/python tests/faults.py

bench-blas bench-preflight bench-make bench-train bench-evaluate bench-intervals bench-bfcl: setup ## measure one part (tests/bench_*.py)
	@bin/python tests/$(subst -,_,$@).py $(CONFIG)

bench-bfcl: .venv/bfcl.installed

.PHONY: plan why status runs gate verify autopsy judge quants chat serve adopt sweep test lint lock picture test-faults \
	bench-blas bench-preflight bench-make bench-train bench-evaluate bench-intervals bench-bfcl
