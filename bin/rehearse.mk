# == Rehearse: the machine, before an evening is spent on it
# The recipe at full size with random weights. Neither a network nor the data is needed. What it writes,
# 33 GB at 8B on a CPU, it removes again.

# The base model's tokenizer where it is here, with the rows that are here; else the demo's of both.
rehearse: | $(BUILD)/logs ## the recipe at full size: time, memory and disk
	@bin/rehearse.sh $(CONFIG) $(BUILD)/rehearsal '$(if $(call gone,$(BASE)),build/demo/base,$(BASE))'

ifneq ($(filter adopt,$(MAKECMDGOALS)),)
$(if $(wildcard $(ADAPTERS)/adapters.safetensors),,$(error ADAPTERS=$(ADAPTERS): no adapters.safetensors there: name the folder of a training))
endif
adopt: | $(BUILD)/preflight.ok ## take ADAPTERS=folder, trained elsewhere, as those of here
	@bin/adopt.sh '$(ADAPTERS)' $(BUILD) $(FINE_TUNE_TYPE) $(NUM_LAYERS) $(LORA_RANK) $(LORA_SCALE)

.PHONY: rehearse adopt
