# Phase 40: can an 8B model replace the 30B one that picks our tools?
#
# Phase 33b taught a 30B mixture of experts to call 26 tools; it scores 82.4% on 27 prompts and fills
# 17 GB. Qwen3-8B is of the same family: the same tokenizer, so the same rows teach it unchanged, and
# at 5 bits it takes 5.6 GB beside whatever else is running. Here it is trained on those rows, asked
# those prompts, and set beside the 30B model category by category. Only the model differs, and how
# many of its layers are trained. A first run of this, by hand, scored 18.5%: each check below is a
# way in which such a run has gone wrong.
#
#   data + tokenizers -> preflight.ok -> adapters -> fused -> q5 -> eval.json -> compare.md -> report.html
#
# The experiment is told in the order it happens: why, then how. `make demo` runs all of it
# here, small; `make eval` is the real one; `make` lists what else there is.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# == Config: an experiment is an env file
# phase40.env has every knob with its reason, and the next experiment is another such file, named by
# CONFIG. A value on Make's command line wins over the environment, and that over the file. Other
# names in capitals are derived from the keys in bin/config.mk.

include bin/config.mk

# A stage is made again when a setting, a file or a stage that it reads has changed. Make would compare
# dates; the bar (|) switches that off, and bin/stages.mk compares contents (`make why` says which). A
# stage writes to $@.tmp, and `finish` moves that into place: what has its final name is whole.

include bin/models.mk bin/stages.mk

# Runs a command with its progress bars alive, and keeps what it says in build/logs. $(HUSH) is for make -s.
LOG = bin/python py/logged.py $(if $(QUIET),--quiet)

# == Setup: the same packages everywhere
# The first target that needs it makes .venv from a lock with hashes. bin/python is its Python, with a
# fast BLAS in front where mlx's own is slow: on Linux without a GPU. MLX=cuda13 is for NVIDIA's.

setup: $(VENV) $(if $(EMBEDDED),.venv/embedded.installed) ## make .venv from the lock (any target does it too)

.venv/base.installed: py/requirements.lock
	@bin/setup.sh base

.venv/%.installed: py/requirements-%.lock .venv/base.installed
	@bin/setup.sh $*

# == Data: Phase 33b's rows and prompts, unchanged
# The same 1,159 rows taught the 30B model and the same 27 prompts tested it. Fewer rows would
# handicap the 8B model, others would be a second change. They come from where they were published,
# held to their checksums; the prompts are read out of the script that asked them, which never runs.

data: .venv/base.installed ## fetch rows and prompts, or check those that are there
	@$(FETCH) $(ROWS) $(if $(ORIGINAL_SUITE),$(SCRIPT))
	$(if $(ORIGINAL_SUITE),@bin/python py/original_suite.py --script $(SCRIPT) --out $(SUITE))

data/phase33b_suite.json: | $(if $(wildcard data/phase33b_suite.json),,$(SCRIPT)) .venv/base.installed
	@bin/python py/original_suite.py --script $(SCRIPT) --out $@ $(HUSH)

$(FETCHED):
	@$(FETCH) $@ $(HUSH)

# == Preflight: a doomed run stops here, in seconds
# Phase 25 trained on another family's tokenizer and scored 0%, an evening later; Phase 26 lost 60
# points to a prompt format. Tokenizer, chat template, tool parser, scorer, rows, arithmetic, disk
# and memory are held to what the env file says before anything is trained.

preflight: $(BUILD)/preflight.ok ## is the run worth an evening? all checked in seconds
	@bin/stages.sh up-to-date $<

$(BUILD)/preflight.ok: | $(ROWS) $(SUITE) $(TOOLS) $(SPECIAL_TOKENS) $(CHECKSUM_FILE) $(BUILD)/logs $(MODELS)
	@bin/stages.sh begin preflight $@ "is $(CONFIG) worth an evening?"
	@rm -f $@
	bin/python py/preflight.py --config $(CONFIG) --out $(BUILD) $(HUSH)
	@bin/stages.sh finish preflight $@ train

# == Train: LoRA on the last 16 of 36 layers
# The 30B model had adapters on 8 of its 48 layers: choosing among its experts did the work. A dense
# model has no experts to choose among, so more of its layers must learn the tools: 16 of 36, 44%.
# 800 iterations of 4 rows are the 2.76 epochs of Phase 33b, and its learning rate, 1e-4, did not
# diverge: what need not change is left alone, so that the model explains the difference.
#
# Only the last answer of a row counts in the loss (--mask-prompt), as it did then; EXPAND_TURNS=1 makes
# a row of each answer. py/follow.py runs the command as it stands here, keeps its metrics and
# stops it when it overfits; py/best.py keeps the checkpoint with the lowest validation loss, which
# need not be the last. $(WEIGHTS) fetches the base's from the hub where they are not here yet.

train: $(BUILD)/adapters ## LoRA-train the base model; RESUME=1 goes on with it
	@bin/stages.sh up-to-date $<

$(BUILD)/data: | $(BUILD)/preflight.ok
	@bin/stages.sh begin data $@ "a row for each assistant turn"
	@rm -rf $@.tmp
	bin/python py/expand_turns.py --config $(CONFIG) --out $@.tmp $(HUSH)
	@bin/stages.sh finish data $@ train

$(BUILD)/adapters: | $(BUILD)/preflight.ok $(EXPANDED)
	@rm -f $(BUILD)/adopted
	@bin/stages.sh begin train $@ "$(ITERS) iterations of $(BATCH_SIZE) rows on $(NUM_LAYERS) layers of $(BASE_MODEL)"
	$(WEIGHTS)
	@bin/training.sh begin $(TRAINING) $(BUILD)/logs $(RESUME)
	@bin/training.sh yaml $(LORA_RANK) $(LORA_SCALE) $(LORA_DROPOUT) $(OPTIMIZER) \
		$(LR_SCHEDULE) $(LEARNING_RATE) $(ITERS) $(GRAD_ACCUMULATION) >$(TRAINING)/lora.yaml
	$(LOG) $(BUILD)/logs/train.log $(LAUNCH) bin/python py/follow.py $(if $(filter 1,$(RESUME)),--resume) \
		--patience $(PATIENCE) --min-delta $(MIN_DELTA) -- \
		mlx_lm lora --train --model '$(BASE)' --data $(or $(EXPANDED),$(DATA)) --mask-prompt \
		--fine-tune-type $(FINE_TUNE_TYPE) --num-layers $(NUM_LAYERS) \
		--iters $(ITERS) --batch-size $(BATCH_SIZE) --grad-accumulation-steps $(GRAD_ACCUMULATION) \
		--optimizer $(OPTIMIZER) --learning-rate $(LEARNING_RATE) --max-seq-length $(MAX_SEQ_LENGTH) --seed $(SEED) \
		--steps-per-eval $(STEPS_PER_EVAL) --val-batches $(VAL_BATCHES) --save-every $(SAVE_EVERY) \
		--steps-per-report $(STEPS_PER_REPORT) $(REPORTED) $(if $(filter 1,$(GRAD_CHECKPOINT)),--grad-checkpoint) \
		--config $(TRAINING)/lora.yaml --adapter-path $(TRAINING)
	$(LOG) $(BUILD)/logs/best.log bin/python py/best.py $(TRAINING) $@.tmp \
		$(if $(filter 1,$(KEEP_CHECKPOINTS)),--keep-checkpoints)
	@bin/training.sh end $(TRAINING) $(BUILD)/logs $@.tmp
	@bin/stages.sh finish train $@ $(if $(FUSED),fuse,quantize)
	@rm -rf $(TRAINING)

# == Fuse: the adapter becomes part of the weights
# In full precision (--dequantize): added to 4-bit weights, an adapter is rounded to their grid and
# can vanish.

fuse: $(BUILD)/fused ## fuse adapter and base into full-precision weights
	@bin/stages.sh up-to-date $<

$(BUILD)/fused: | $(BUILD)/adapters
	@bin/stages.sh begin fuse $@ "adapter and base into full-precision weights"
	$(WEIGHTS)
	@rm -rf $@.tmp && bin/space.sh $@ fused_bytes
	$(LOG) --discard $@.tmp $(BUILD)/logs/fuse.log bin/python -m mlx_lm fuse \
		--model '$(BASE)' --adapter-path $(BUILD)/adapters --dequantize --save-path $@.tmp
	@bin/stages.sh finish fuse $@ quantize

# == Quantize: 5 bits, small enough to live beside an inference server
# 4 bits have rounded adapters away; 5 leave a margin, and the ladder below says what they keep.
# py/publish.py gives q5 the tool parser that keeps its calls, the prompt format it was trained with,
# and a model card.

quantize: $(BUILD)/q5 ## quantize the fused model
	@bin/stages.sh up-to-date $<

# LOW_MEMORY=1 does both steps in one go, for a Mac of 16 GB: the same bits from a third of the memory.
CONVERT = $(if $(FUSED),-m mlx_lm convert --hf-path $(FUSED) -q,\
	py/fuse_and_quantize.py --model '$(BASE)' --adapter-path $(BUILD)/adapters)

$(BUILD)/q5: | $(or $(FUSED),$(BUILD)/adapters)
	@bin/stages.sh begin quantize $@ "$(Q_BITS) bits in groups of $(Q_GROUP_SIZE)"
	$(if $(FUSED),,$(WEIGHTS))
	@rm -rf $@.tmp && bin/space.sh $@ q5_bytes
	$(LOG) --discard $@.tmp $(BUILD)/logs/quantize.log bin/python $(CONVERT) \
		--mlx-path $@.tmp --q-bits $(Q_BITS) --q-group-size $(Q_GROUP_SIZE)
	bin/python py/publish.py --config $(CONFIG) --model $@.tmp
	@bin/stages.sh finish quantize $@ $(if $(LADDER),ladder,eval)

# == Ladder: has the adapter survived?
# Before a score has to show it: one validation loss each for base, base + adapter, fused and q5, on
# the same tokens. With q5 proved whole, LEAN=1 lets go of the fused model, the largest thing here.

ladder: $(BUILD)/ladder.json ## validation loss of base, base + adapter, fused and q5
	@echo; jq --raw-output .summary $<

$(BUILD)/ladder.json: | $(BUILD)/adapters $(FUSED) $(BUILD)/$(SERVED)
	@bin/stages.sh begin ladder $@ "has the adapter survived fusing and $(Q_BITS) bits?"
	$(WEIGHTS)
	$(LOG) $(BUILD)/logs/ladder.log bin/python py/ladder.py --model '$(BASE)' --adapters $(BUILD)/adapters \
		$(addprefix --fused ,$(FUSED)) --q5 $(BUILD)/$(SERVED) --rows $(LADDER_ROWS) --out $@.tmp
	@bin/stages.sh finish ladder $@ eval
	$(if $(filter 1,$(LEAN)),@rm -rf $(BUILD)/fused && \
		echo "LEAN=1: $(BUILD)/fused removed; it is made again when something needs it" $(HUSH))

# == Evaluate: the suite, over HTTP, from the model that was built
# A real mlx_lm server is asked for the model by the path it was started with, never by "the first
# id it lists": that is the untuned base on a machine that has just downloaded it. A prompt that the
# server counts otherwise than training did, or a call that its parser drops, stops the run.
# On a CPU, where quantized products are slow, q5's float32 twin is served: the same weights.

EVALUATE = bin/python py/evaluate.py --suite $(SUITE) --targets $(TARGETS) \
	--temperature $(EVAL_TEMPERATURE) --seed $(EVAL_SEED) --max-tokens $(EVAL_MAX_TOKENS) \
	--concurrency $(EVAL_CONCURRENCY) --timeout $(EVAL_TIMEOUT) --port $(EVAL_PORT)
# EVAL_URL asks a server that is already running (LM Studio, Ollama, llama.cpp, vLLM) instead.
ASKED := $(if $(OURS),--model $(BUILD)/q5 --serve $(BUILD)/$(SERVED),\
	--url $(EVAL_URL) $(addprefix --served-model ,$(filter-out none,$(EVAL_MODEL))))

eval: | $(BUILD)/compare.md $(BUILD)/manifest.json $(BUILD)/report.html ## run all of it, from data to report
	@bin/stages.sh up-to-date $(BUILD)/compare.md
	@echo; cat $(BUILD)/compare.md
	@echo; echo "With every answer, as a page: $(BUILD)/report.html"

demo: eval ## all of it here, on an embedded 135M model

$(BUILD)/eval.json: | $(SUITE) $(TARGETS) $(BUILD)/logs $(if $(OURS),$(BUILD)/$(SERVED) $(BUILD)/q5 $(LADDER))
	@bin/stages.sh begin eval $@ "$(if $(OURS),$(BUILD)/$(SERVED),$(EVAL_URL)) on $(SUITE)"
	$(LOG) $(BUILD)/logs/eval.log $(EVALUATE) --experiment $(EXPERIMENT) $(ASKED) \
		--server-log $(BUILD)/logs/server.log --out $@
	@bin/stages.sh finish eval $@ compare

# The untuned base by the same code: what the training was worth. BASELINE=base compares with it.
eval-base: $(BUILD)/eval_base.json ## evaluate the untuned base model
	@bin/stages.sh up-to-date $<

$(BUILD)/eval_base.json: | $(SUITE) $(TARGETS) $(BUILD)/logs $(BASE_MADE)
	@bin/stages.sh begin eval_base $@ "the untuned base $(BASE_MODEL) on $(SUITE)"
	$(WEIGHTS)
	$(LOG) $(BUILD)/logs/eval_base.log $(EVALUATE) --experiment base --model '$(BASE)' \
		--server-log $(BUILD)/logs/server_base.log --out $@
	@bin/stages.sh finish eval_base $@ "compare BASELINE=base"

# == Compare: category by category with what it wants to replace
# The targets were registered before the first run, so that the verdict cannot be argued with. 27
# prompts are few: the interval beside the total says how few.

compare: $(if $(SIDE_BY_SIDE),.venv/base.installed,$(BUILD)/compare.md) ## the table; A= B=eval.json: side by side
	@$(if $(SIDE_BY_SIDE),bin/compare.sh $(SIDE_BY_SIDE) $(TARGETS) changed,cat $<)

$(BUILD)/compare.md: | $(BUILD)/eval.json $(LADDER) $(BASELINE_FILE) $(TARGETS)
	@bin/stages.sh begin compare $@ "$(EXPERIMENT) with $(BASELINE_FILE)"
	@bin/compare.sh $(BASELINE_FILE) $(BUILD)/eval.json $(TARGETS) >$@.tmp
	@$(if $(LADDER),jq --raw-output .summary $(LADDER) >>$@.tmp)
	@bin/stages.sh finish compare $@ report

# == Report: what to believe, and why
# manifest.json has what made this: settings, versions, the commit, the sha256 of every input and output.
# report.html has it for a reader, with the verdict, the curves and every answer, in one file.

report: $(BUILD)/report.html ## the page build/report.html (and .md)
	@echo "$(BUILD)/report.html and $(BUILD)/report.md"

$(BUILD)/manifest.json: | $(BUILD)/compare.md
	@bin/stages.sh begin manifest $@ "what made this, with sha256"
	@$(if $(OURS),[ ! -d $(BUILD)/q5 ] || bin/python py/publish.py --config $(CONFIG) --model $(BUILD)/q5)
	@bin/python py/manifest.py write --config $(CONFIG) --build $(BUILD) --out $@.tmp
	@bin/stages.sh finish manifest $@ report

$(BUILD)/report.html: | $(BUILD)/manifest.json
	@bin/stages.sh begin report $@ "the page for a reader"
	@bin/python py/report.py --build $(BUILD) --suite $(SUITE) --baseline $(BASELINE_FILE) --targets $(TARGETS) \
		$(addprefix --ladder ,$(LADDER)) --out $@.tmp --markdown $(BUILD)/report.md
	@bin/stages.sh finish report $@ verify

# == Housekeeping: disk, and this list

clean-build: ## free the disk: models go (q5 too), results and logs stay
	@bin/clean.sh '$(BUILD)' models

clean: ## remove everything made from this config
	@bin/clean.sh '$(BUILD)' all

help: ## list what you can ask for
	@bin/help.sh Makefile $(MORE)
	@echo; echo "Settings: CONFIG=$(CONFIG), or any key of it: make train LEARNING_RATE=5e-5"

# What is not on the way from data to score.
MORE := bin/look.mk bin/use.mk bin/sweep.mk bin/rehearse.mk bin/develop.mk
include $(MORE)

FORCE:
.PHONY: FORCE setup data preflight train fuse quantize ladder eval demo eval-base compare report clean-build clean help
