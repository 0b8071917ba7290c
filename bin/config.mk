# The settings: every KEY=value of $(CONFIG) becomes a variable of Make. What would be ignored
# or misread stops here, in one line: an evening would be lost to it.

CONFIG ?= phase40.env
ifneq ($(filter demo,$(MAKECMDGOALS)),)
CONFIG := demo.env
endif

KEYS := $(shell bin/config.sh '$(CONFIG)' phase40.env)
ifneq ($(filter error:,$(KEYS)),)
$(error $(wordlist 2,99,$(KEYS)))
endif
# Make's command line wins over include by itself; the environment needs a second word.
IN_ENVIRONMENT := $(foreach key,$(KEYS),$(if $(filter environment,$(origin $(key))),$(key)=$($(key))))
include $(CONFIG)
$(foreach setting,$(IN_ENVIRONMENT),$(eval $(setting)))

# From wherever a value comes: an empty BUILD would write to /, and a space would split a path.
$(foreach key,$(KEYS),$(if $($(key)),,$(error $(key) is empty: phase40.env has a value to start from)))
$(foreach key,$(KEYS),$(if $(word 2,$($(key))),$(error $(key)=$($(key)): a value cannot hold a space)))

# What a command may be given beside the keys: of one goal, or of one run.
OPTIONS := CONFIG PYTHON3 PYTEST A B SEEDS TEMPERATURES TRAIN_SEEDS RESUME WORKERS HOSTS LEAN ADAPTERS MLX REPO
# A space within a value is written "\ " there.
ON_COMMAND_LINE := $(foreach word,$(subst \ ,,$(MAKEOVERRIDES)),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word)))))
ifneq ($(filter-out $(KEYS) $(OPTIONS),$(ON_COMMAND_LINE)),)
$(error $(filter-out $(KEYS) $(OPTIONS),$(ON_COMMAND_LINE)): unknown key (phase40.env lists the keys there are))
endif
$(foreach option,RESUME LEAN,$(if $(filter-out 0 1,$($(option))),$(error $(option)=$($(option)): expected 1 or 0)))
$(if $(filter-out cuda12 cuda13,$(MLX)),$(error MLX=$(MLX): expected cuda13 or cuda12, or nothing for a Mac or a CPU))
$(if $(filter ladder,$(MAKECMDGOALS)),$(if $(filter -1,$(LADDER_ROWS)),$(error LADDER_ROWS=-1 leaves the ladder out: give it rows (0 takes all))))
# The two files of make compare A= B=; without B the result here.
OTHER := $(if $(filter B,$(ON_COMMAND_LINE)),$(B),$(BUILD)/eval.json)
SIDE_BY_SIDE := $(if $(filter A,$(ON_COMMAND_LINE)),'$(A)' '$(OTHER)')
$(if $(filter B,$(ON_COMMAND_LINE)),$(if $(SIDE_BY_SIDE),,$(error B=$(B) is compared with A=, which is missing)))
$(if $(findstring ',$(if $(SIDE_BY_SIDE),$(A)$(OTHER))),$(error A and B cannot have a quote in them))
WORKERS ?= 1
HOSTS ?= none

# The short flags that make was called with.
# portable: MAKEFLAGS of Make 4 is "ns --no-print-directory", of 3.81 " --no-print-directory -n -s".
FLAGS := $(filter-out $(MAKEOVERRIDES),$(MAKEFLAGS))
SHORT_FLAGS := $(filter-out --% -I% -O%,$(filter -%,$(FLAGS)) $(filter-out -% %=%,$(firstword $(FLAGS))))
DRY_RUN := $(findstring n,$(SHORT_FLAGS))
# These would take for made what failed, or what nobody made.
$(if $(findstring i,$(SHORT_FLAGS)),$(error make -i would take a stage that failed for made; make -k goes on with what does not need it))
$(if $(findstring t,$(SHORT_FLAGS)),$(error make -t would put empty files where models belong; leave it out))
# With -s the stages say nothing, but for what is wrong.
export QUIET := $(findstring s,$(SHORT_FLAGS))
HUSH := $(if $(QUIET),>/dev/null)
# The next command, as a stage names it at its end, is of the same settings.
export AS_ASKED := $(strip $(addprefix CONFIG=,$(filter-out phase40.env,$(CONFIG))) $(foreach key,$(filter $(KEYS),$(ON_COMMAND_LINE)),$(key)=$($(key))))

# What the settings mean for the stages.
EMBEDDED := $(filter build/demo/base,$(BASE_MODEL))
EXPANDED := $(if $(filter 1,$(EXPAND_TURNS)),$(BUILD)/data)
OURS := $(filter none,$(EVAL_URL))
FUSED := $(if $(filter 1,$(LOW_MEMORY)),,$(BUILD)/fused)
LADDER := $(if $(OURS),$(if $(filter -1,$(LADDER_ROWS)),,$(BUILD)/ladder.json))
ON_CPU := $(if $(MLX)$(wildcard .venv/cuda1?.installed),,$(filter Linux,$(shell uname -s)))
SERVED := $(if $(ON_CPU),$(if $(filter 1,$(EVAL_EXACT)),q5,q5-float32),q5)
BASELINE_FILE := $(if $(filter base,$(BASELINE)),$(BUILD)/eval_base.json,$(BASELINE))
CHECKSUM_FILE := $(filter-out none,$(CHECKSUMS))
ROWS := $(DATA)/train.jsonl $(DATA)/valid.jsonl
ORIGINAL_SUITE := $(filter data/phase33b_suite.json,$(SUITE))
SCRIPT := data/phase33_merged/run_phase33_direct_eval.py
FETCH = bin/fetch.sh '$(DATA_URL)' $(CHECKSUMS)
FETCHED := $(sort $(ROWS) $(SCRIPT) $(filter-out $(ORIGINAL_SUITE),$(SUITE)) $(TOOLS) $(SPECIAL_TOKENS) $(TARGETS) $(CHECKSUM_FILE) $(filter-out base,$(BASELINE)))
LOCKFILE := py/requirements.lock
VENV := .venv/base.installed $(if $(MLX),.venv/$(MLX).installed)

# A training's folder. WORKERS=2 shares each batch between two processes, HOSTS=hosts.json between machines.
TRAINING := $(BUILD)/adapters.training
LAUNCH := $(if $(filter 1none,$(WORKERS)$(HOSTS)),,bin/launch.sh '$(WORKERS)' '$(HOSTS)' $(BATCH_SIZE))
REPORTED := $(if $(filter none,$(REPORT_TO)),,--report-to $(REPORT_TO) --project-name $(EXPERIMENT))

# A folder is marked as a build folder of this recipe: make clean takes no other.
$(BUILD)/logs: | $(VENV)
	@{ mkdir -p $(BUILD) && echo '$(EXPERIMENT)' >$(BUILD)/.phase40-build && mkdir -p $@; } 2>/dev/null || { echo "$(BUILD): cannot be written; name another folder with BUILD=" >&2; exit 2; }
