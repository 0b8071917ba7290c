# The settings: phase40.env, then CONFIG, whose lines replace some of its values. Make's command line wins over
# both files. The environment does not: a SEED that is set there must not train another model. If CONFIG names
# DATA of its own, data/own.env comes between the two: phase40.env's promises are about other rows.

CONFIG := phase40.env
# What the command line may set besides the keys of phase40.env. Each is empty otherwise.
OPTIONS := RESUME WORKERS HOSTS MLX PYTHON3 ADAPTERS A B SEEDS TEMPERATURES TRAIN_SEEDS LEAN MODEL CHECKPOINT NAME \
	RESULT QUANTS PYTEST
$(foreach option,$(OPTIONS),$(eval $(option) :=))

KEYS := $(shell sed -n 's/^\([A-Z][A-Z0-9_]*\)=.*/\1/p' phase40.env)
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
UNKNOWN := $(filter-out CONFIG $(KEYS) $(OPTIONS),$(GIVEN))
$(if $(UNKNOWN),$(error $(UNKNOWN): unknown key; phase40.env has the keys, make help the options))

$(if $(filter-out 1,$(RESUME)),$(error RESUME=$(RESUME): expected 1))
$(if $(filter-out 0 1,$(LEAN)),$(error LEAN=$(LEAN): expected 0 or 1))
$(if $(B),$(if $(A),,$(error B=$(B): it is compared with A=; set both)))
$(if $(filter-out cuda12 cuda13,$(MLX)),$(error MLX=$(MLX): expected cuda13 or cuda12, or nothing for a Mac or a CPU))
$(if $(CHECKPOINT),$(if $(ADAPTERS),,$(error CHECKPOINT=$(CHECKPOINT): it is a file of ADAPTERS=; set both)))
# Another goal would not read these: make eval MODEL=x would evaluate the build.
only = $(if $($(1)),$(if $(filter-out $(2),$(or $(MAKECMDGOALS),help)),$(error $(1)=$($(1)): only these goals read it: $(2))))
$(call only,MODEL,judge sweep)$(call only,RESULT,autopsy)$(call only,QUANTS,quants)
WIDTHS := 2 3 4 5 6 8 mixed_2_6 mixed_3_4 mixed_3_6 mixed_4_6
WRONG := $(filter-out $(foreach group,32 64 128,$(WIDTHS:%=%-$(group))),$(QUANTS))
$(if $(WRONG),$(error QUANTS: $(WRONG): expected BITS-GROUP, with BITS of $(WIDTHS), GROUP of 32 64 128))
$(if $(filter sweep,$(MAKECMDGOALS)),$(if $(filter SEED,$(GIVEN)),$(if $(filter TRAIN_SEEDS,$(GIVEN)),,\
	$(error SEED=$(SEED): it changes the training; SEEDS= are those of the answers, TRAIN_SEEDS= train anew))))
$(if $(MODEL),,$(call only,ADAPTERS,adopt)$(call only,NAME,judge))

quote = '$(subst ','\'',$(1))'
PROBLEM := $(shell bin/settings.sh $(call quote,$(value CONFIG)) \
	$(foreach key,$(filter $(KEYS) MODEL ADAPTERS CHECKPOINT NAME,$(GIVEN)),$(call quote,$(key)=$(value $(key)))))
$(if $(PROBLEM),$(error $(PROBLEM)))

include phase40.env
ifneq ($(filter-out DATA=$(DATA),$(shell grep '^DATA=' $(CONFIG))),)
include data/own.env
endif
include $(CONFIG)
$(if $(SEEDS),$(if $(filter-out 0 0.0,$(or $(TEMPERATURES),$(EVAL_TEMPERATURE))),,$(error SEEDS=$(SEEDS): at temperature 0 \
	nothing is drawn; add TEMPERATURES=0.7)))
$(if $(TRAIN_SEEDS),$(if $(MODEL)$(filter-out none,$(EVAL_URL)),$(error TRAIN_SEEDS=$(TRAIN_SEEDS): they train the build; leave out MODEL= and EVAL_URL=)))

# Programs read the settings from this (py/settings.py).
export SETTINGS = $(foreach key,$(KEYS),$(key)=$($(key)))
