// A search, a filter, and everything unfolded for print. The page can be read without.
{
  const prompts = [...document.querySelectorAll("#prompts > details")];
  const texts = prompts.map((prompt) => prompt.textContent.toLowerCase());
  const find = document.getElementById("find");

  const add = (name, properties, parent = find) =>
    parent.appendChild(Object.assign(document.createElement(name), properties));
  const search = add("input", { type: "search", placeholder: "Search prompts and answers" });
  search.setAttribute("aria-label", search.placeholder);
  const label = add("label");
  const failed = add("input", { type: "checkbox" }, label);
  label.append("only below 0.5");
  const unfold = add("button", { type: "button", textContent: "Open all" });
  const count = add("output");

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    prompts.forEach((prompt, number) => {
      const wanted = !failed.checked || prompt.classList.contains("failed");
      prompt.hidden = !wanted || !words.every((word) => texts[number].includes(word));
    });
    const shown = prompts.filter((prompt) => !prompt.hidden);
    count.textContent = shown.length + " of " + prompts.length;
  };
  search.addEventListener("input", filter);
  failed.addEventListener("change", filter);
  filter();

  unfold.addEventListener("click", () => {
    const open = unfold.textContent === "Open all";
    prompts.forEach((prompt) => { prompt.open = open; });
    unfold.textContent = open ? "Close all" : "Open all";
  });

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = document.querySelectorAll("details:not([open])");
    folded.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => {
    folded.forEach((details) => { details.open = false; });
  });
}
