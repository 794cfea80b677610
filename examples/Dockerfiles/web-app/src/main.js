route("/", () => leftPad("Hello", 20));
route("/404", () => "nothing here");
show(location.pathname);
