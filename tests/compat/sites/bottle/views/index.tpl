<!doctype html>
<title>Compatibility</title>
<h1>Hello, {{name}}!</h1>
<p><a href="{{greet}}">Greet</a></p>
