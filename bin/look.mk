# == Look: what there is, what would run, and whether it is what it was
# None of these builds anything, but reproduce.

plan: | $(BUILD)/logs $(EMBEDDED) ## what make eval would do, how long and how large
	@set -o pipefail; $(MAKE) --no-print-directory --dry-run eval | sed -n 's/^bin\/stages.sh begin \([a-z0-9_]*\) .*/\1/p' \
		| bin/python py/plan.py --config $(CONFIG)

why: ## for each stage: up to date, or what made it stale
	@bin/status.sh why

status: ## the stages with sizes and dates, and the scores
	@bin/status.sh status

gate: ## fail unless the last verdict is pass; builds nothing
	@[ -f $(BUILD)/eval.json ] || { echo "$(BUILD)/eval.json: no such file; make eval makes it" >&2; exit 2; }
	@jq --exit-status --raw-output '"verdict: \(.verdict)", .verdict == "pass"' $(BUILD)/eval.json | head -1; exit $${PIPESTATUS[0]}

plot: .venv/plot.installed ## the loss curves as build/curves.svg and .png
	@bin/python py/plot.py $(BUILD)/adapters --out $(BUILD)/curves

verify: ## read every file that the manifest names: what differs?
	@bin/python py/manifest.py verify --build $(BUILD)

reproduce: | $(BUILD)/manifest.json ## build it all again in a scratch folder and compare
	@bin/clean.sh $(BUILD)/reproduce all >/dev/null
	$(MAKE) --no-print-directory eval BUILD=$(BUILD)/reproduce RESUME= LEAN=
	@bin/python py/manifest.py compare $(BUILD) $(BUILD)/reproduce
	@bin/clean.sh $(BUILD)/reproduce all >/dev/null

.PHONY: plan why status gate plot verify reproduce
