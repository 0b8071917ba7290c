// Search, a filter, and what is folded opened for print. The page can be read without.
(function () {
  "use strict";
  var prompts = Array.prototype.slice.call(document.querySelectorAll("#prompts > details"));
  var texts = prompts.map(function (prompt) { return prompt.textContent.toLowerCase(); });
  var find = document.getElementById("find");

  function add(name, properties) {
    return find.appendChild(Object.assign(document.createElement(name), properties));
  }
  var search = add("input", { type: "search", placeholder: "Search prompts and answers" });
  search.setAttribute("aria-label", search.placeholder);
  var label = add("label", {});
  var failed = label.appendChild(Object.assign(document.createElement("input"), { type: "checkbox" }));
  label.append("only below 0.5");
  var unfold = add("button", { type: "button", textContent: "Open all" });
  var count = add("output", {});

  function filter() {
    var words = search.value.toLowerCase().split(/\s+/);
    var shown = prompts.filter(function (prompt, number) {
      var wanted = !failed.checked || prompt.classList.contains("failed");
      wanted = wanted && words.every(function (word) { return texts[number].includes(word); });
      prompt.hidden = !wanted;
      return wanted;
    });
    count.textContent = shown.length + " of " + prompts.length;
  }
  search.addEventListener("input", filter);
  failed.addEventListener("change", filter);
  filter();

  unfold.addEventListener("click", function () {
    var open = unfold.textContent === "Open all";
    prompts.forEach(function (prompt) { prompt.open = open; });
    unfold.textContent = open ? "Close all" : "Open all";
  });

  var folded = [];
  addEventListener("beforeprint", function () {
    folded = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    folded.forEach(function (details) { details.open = true; });
  });
  addEventListener("afterprint", function () {
    folded.forEach(function (details) { details.open = false; });
  });
})();
