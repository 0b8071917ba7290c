# == Use: the model that came out

chat: ## talk to the built model
	@[ -d $(BUILD)/$(SERVED) ] || { echo "$(BUILD)/$(SERVED): no model here; make $(BUILD)/$(SERVED)$(if $(AS_ASKED), $(AS_ASKED)) makes it" >&2; exit 2; }
	@bin/python -m mlx_lm chat --model $(BUILD)/$(SERVED) --temp 0 --max-tokens 512 --system-prompt "$$(jq --raw-output .system $(SUITE))"

serve: $(BUILD)/$(SERVED) ## serve it over HTTP (EVAL_PORT, else 8080)
	@bin/server.sh $< $(if $(filter 0,$(EVAL_PORT)),8080,$(EVAL_PORT))

upload: ## show what the hub would get as REPO=org/name, and ask
	@bin/upload.sh '$(REPO)' $(BUILD)/q5

.PHONY: chat serve upload
