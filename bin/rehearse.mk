# A rehearsal: the recipe at full size with random weights, before an evening is spent on it.

REHEARSAL := $(BUILD)/rehearsal
# The base model's tokenizer where it is here, with the rows that are here; else the demo's of both.
TOKENIZER := $(patsubst %/tokenizer.json,%,$(or $(wildcard $(BASE)/tokenizer.json),build/demo/base/tokenizer.json))
# What the outer make was given must not reach the rehearsal but through its config.
REHEARSED = CONFIG=$(REHEARSAL)/rehearsal.env $$(grep '^[A-Z]' $(REHEARSAL)/rehearsal.env)

# Neither a network nor the data is needed. What it writes, 33 GB at 8B on a CPU, it removes again.
rehearse: | .venv/base.installed ## the whole recipe at full size on random weights: time, memory and disk of each stage
	@[ -d $(TOKENIZER) ] || $(MAKE) --no-print-directory build/demo/base CONFIG=demo.env BUILD=build/demo BASE_MODEL=build/demo/base
	@mkdir -p $(BUILD) && rm -rf $(REHEARSAL)
	@echo; echo "== rehearse: $(CONFIG) at full size on random weights"
	bin/python py/rehearse.py prepare --config $(CONFIG) --tokenizer $(TOKENIZER) --out $(REHEARSAL)
	@mkdir -p $(REHEARSAL)/build/logs
	$(LOG) $(REHEARSAL)/build/logs/model.log bin/python py/random_model.py --shape $(REHEARSAL)/shape.json --tokenizer $(TOKENIZER) --out $(REHEARSAL)/model
	@[ ! -d $(REHEARSAL)/adapters ] || $(MAKE) --no-print-directory adopt ADAPTERS=$(REHEARSAL)/adapters $(REHEARSED)
	$(MAKE) --no-print-directory eval $(REHEARSED)
	@echo && bin/python py/rehearse.py table $(REHEARSAL); status=$$?; rm -rf $(REHEARSAL); exit $$status

# What was trained elsewhere with this config becomes the adapters of this build.
adopt: | $(BUILD)/preflight.ok ## take ADAPTERS=folder, trained elsewhere with this config, as the adapters here
	@[ -f '$(ADAPTERS)/adapters.safetensors' ] && [ -f '$(ADAPTERS)/adapter_config.json' ] || { \
		echo "ADAPTERS=$(ADAPTERS): no adapters.safetensors and adapter_config.json there" >&2; exit 2; }
	@bin/stages.sh begin train $(BUILD)/adapters
	@rm -rf $(BUILD)/adapters.tmp && cp -R '$(ADAPTERS)' $(BUILD)/adapters.tmp
	@bin/stages.sh finish train $(BUILD)/adapters
	@echo "$(BUILD)/adapters: those of $(ADAPTERS)"

.PHONY: rehearse adopt
