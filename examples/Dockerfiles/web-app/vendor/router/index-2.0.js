const routes = new Map();

function route(path, view) {
  routes.set(path, view);
}

function show(path) {
  document.body.textContent = (routes.get(path) ?? routes.get("/404"))();
}
