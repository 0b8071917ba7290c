# What each stage reads. A stage is made again when a setting (_keys) or a file (_files) that it, or a
# stage before it (_after), reads has another value or content than when it was made. Dates do not
# count: bin/stages.sh keeps what each stage was made of in $(BUILD)/made.

base_model_keys := $(if $(BASE_NOTE),BASE_MODEL)
reference_model_keys := $(if $(REFERENCE_NOTE),REFERENCE_MODEL)

base_files := py/embedded_model.py py/files.py py/requirements-embedded.lock $(LOCKFILE)

preflight_keys := $(filter-out BUILD DATA_URL EVAL_% BASELINE TARGETS LADDER_ROWS KEEP_CHECKPOINTS,$(KEYS)) EVAL_EXACT
preflight_files := $(ROWS) $(SUITE) $(TOOLS) $(SPECIAL_TOKENS) $(CHECKSUM_FILE) $(LOCKFILE) $(wildcard py/check_*.py) \
	$(addprefix py/,preflight.py rows.py chat_format.py show.py served.py client.py server.py shapes.py score.py called.py names.py expand_turns.py files.py finding.py models.py settings.py suite.py) \
	$(call model_files,$(BASE_MODEL),$(BASE_NOTE),json jinja) $(call model_files,$(REFERENCE_MODEL),$(REFERENCE_NOTE),json jinja)
preflight_after := $(EMBEDDED:%=base)

data_files := $(ROWS) $(addprefix py/,expand_turns.py files.py rows.py settings.py)

train_keys := BASE_MODEL DATA EXPAND_TURNS MAX_SEQ_LENGTH FINE_TUNE_TYPE NUM_LAYERS LORA_RANK LORA_SCALE LORA_DROPOUT \
	ITERS BATCH_SIZE GRAD_ACCUMULATION OPTIMIZER LEARNING_RATE LR_SCHEDULE GRAD_CHECKPOINT \
	STEPS_PER_EVAL SAVE_EVERY STEPS_PER_REPORT VAL_BATCHES PATIENCE MIN_DELTA SEED
train_files := $(ROWS) $(BASE_FILES) $(BUILD)/adopted $(LOCKFILE) $(addprefix py/,follow.py metrics.py resume.py workers.py best.py checkpoints.py loss.py files.py models.py settings.py)
train_after := $(EMBEDDED:%=base) $(EXPANDED:%=data)

fuse_after := train
quantize_keys := Q_BITS Q_GROUP_SIZE
quantize_files := $(addprefix py/,served.py check_served.py publish.py chat_format.py files.py models.py settings.py fuse_and_quantize.py)
quantize_after := $(if $(FUSED),fuse,train)
twin_after := quantize
last_model := $(if $(filter q5,$(SERVED)),quantize,twin)

ladder_keys := LADDER_ROWS
ladder_files := $(addprefix py/,ladder.py loss.py files.py)
ladder_after := $(last_model)

EVALUATOR := $(addprefix py/,evaluate.py asking.py client.py server.py score.py called.py names.py summary.py suite.py chat_format.py files.py finding.py) \
	bin/server.sh
eval_keys := EXPERIMENT EVAL_TEMPERATURE EVAL_SEED EVAL_CONCURRENCY EVAL_MAX_TOKENS EVAL_EXACT EVAL_URL EVAL_MODEL
eval_files := $(SUITE) $(TARGETS) $(LOCKFILE) $(EVALUATOR)
eval_after := $(if $(OURS),$(last_model))
eval_base_keys := BASE_MODEL $(filter-out EXPERIMENT EVAL_EXACT EVAL_URL EVAL_MODEL,$(eval_keys))
eval_base_files := $(eval_files) $(BASE_FILES)
eval_base_after := $(EMBEDDED:%=base)
sweep_keys := $(filter-out EVAL_TEMPERATURE EVAL_SEED,$(eval_keys))
sweep_files := $(eval_files)
sweep_after := $(eval_after)

compare_files := $(filter-out base,$(BASELINE)) bin/compare.sh bin/compare.jq $(addprefix py/,difference.py summary.py files.py)
manifest_files := $(addprefix py/,manifest.py publish.py chat_format.py files.py models.py settings.py)
manifest_after := $(if $(OURS),preflight) compare
report_files := $(addprefix py/,report.py curves.py called.py names.py checkpoints.py difference.py files.py score.py suite.py summary.py report.html.jinja report.md.jinja report.css report.js)
report_after := manifest
compare_after := eval $(if $(LADDER),ladder) $(if $(filter base,$(BASELINE)),eval_base)

# The stages in the order of the experiment, each with its output.
STAGES := $(if $(EMBEDDED),base=build/demo/base) \
	$(addprefix base_model=,$(BASE_NOTE)) \
	$(addprefix reference_model=,$(REFERENCE_NOTE)) \
	preflight=$(BUILD)/preflight.ok \
	$(if $(EXPANDED),data=$(BUILD)/data) \
	train=$(BUILD)/adapters \
	fuse=$(BUILD)/fused \
	quantize=$(BUILD)/q5 \
	$(if $(filter twin,$(last_model)),twin=$(BUILD)/q5-float32) \
	ladder=$(BUILD)/ladder.json \
	eval=$(BUILD)/eval.json \
	eval_base=$(BUILD)/eval_base.json \
	sweep=$(BUILD)/sweep/seed \
	compare=$(BUILD)/compare.md \
	manifest=$(BUILD)/manifest.json \
	report=$(BUILD)/report.html

# For bin/stages.sh: NAME|OUTPUT|KEY=value ...|FILE ...|STAGE ...;
describe = $(1)|$(2)|$(foreach key,$($(1)_keys),$(key)=$($(key)))|$($(1)_files)|$($(1)_after);
export STAGE_TABLE := $(foreach pair,$(STAGES),$(call describe,$(word 1,$(subst =, ,$(pair))),$(word 2,$(subst =, ,$(pair)))))
export BUILD_FOLDER := $(BUILD)

# Goals that only look need not know what is stale, and take no lock; who serves a model takes it
# when something has to be built (bin/stages.sh begin).
export MAKE_PID := $(shell echo $$PPID)
LOOKING := $(if $(SIDE_BY_SIDE),compare) help plot setup data chat upload lint test test-faults lock gate why status verify bench-%
ifneq ($(filter-out $(LOOKING),$(MAKECMDGOALS)),)
ifneq ($(if $(DRY_RUN),,$(filter-out serve plan,$(MAKECMDGOALS))),)
LOCKED := $(shell bin/lock.sh '$(BUILD)' $(MAKE_PID))
ifneq ($(LOCKED),)
$(error $(LOCKED))
endif
endif
STALE := $(shell BUILD_FOLDER='$(BUILD)' STAGE_TABLE='$(STAGE_TABLE)' bin/stages.sh stale && echo checked)
ifeq ($(filter checked,$(STALE)),)
$(error bin/stages.sh could not tell what has changed since the last build)
endif
endif
# The outputs of stale stages depend on FORCE.
$(foreach pair,$(STAGES),$(if $(filter $(firstword $(subst =, ,$(pair))),$(STALE)),$(eval $(lastword $(subst =, ,$(pair))): FORCE)))
# Asked for again, too, when preflight has to read a snapshot that is gone from the hub's cache.
$(BUILD)/base_model.json: $(if $(filter preflight,$(STALE)),$(call gone,$(BASE)))
$(BUILD)/reference_model.json: $(if $(filter preflight,$(STALE)),$(call gone,$(REFERENCE)))

# Models may be missing, after clean-build say, and are not made again as long as what was made
# from them is up to date. Nothing here gains from running side by side.
.SECONDARY: $(BUILD)/data $(BUILD)/fused $(BUILD)/q5 $(BUILD)/q5-float32 build/demo/base
.NOTPARALLEL:
