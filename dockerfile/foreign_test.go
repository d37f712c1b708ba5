package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/foreign"
)

// hostSecret is a line of a file outside of the context, which nothing may show.
const hostSecret = "FROM the-secret-of-the-host"

// putFile makes a file of a context: text, or with "-> " a link.
func putFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if target, isLink := strings.CutPrefix(text, "-> "); isLink {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
		return
	}
	writeFile(t, name, text)
}

// The context's own Dockerfile and ignore files are read in it alone. What leads out, or
// nowhere, is said and not passed over.
func TestFilesOfTheContext(t *testing.T) {
	const base = "FROM base\n"
	tests := []struct {
		name  string
		files map[string]string
		opts  Options // File and IgnoreFile beginning with "CTX/" are in the context
		says  string  // "" for a build
	}{
		{"nothing special", map[string]string{"Dockerfile": base, ".dockerignore": "x\n"}, Options{}, ""},
		{"a Dockerfile that leads out", map[string]string{"Dockerfile": "-> ../auth"}, Options{}, "Dockerfile is a link to ../auth, which leads out"},
		{"by an absolute link", map[string]string{"Dockerfile": "-> OUT/auth"}, Options{}, "auth, which leads out"},
		{"by two links", map[string]string{"Dockerfile": "-> d/l", "d/l": "-> ../../auth"}, Options{}, "Dockerfile is a link to d/l, which leads out"},
		{"by a directory", map[string]string{"d": "-> .."}, Options{File: "CTX/d/auth"}, "d/auth: it leads out of the directory"},
		{"named, in the context", map[string]string{"df": "-> ../auth"}, Options{File: "CTX/df"}, "df is a link to ../auth, which leads out"},
		{"a further one", map[string]string{"Dockerfile": base, "df": "-> ../auth"}, Options{MoreFiles: []string{"CTX/df"}}, "leads out"},
		{"a dangling Dockerfile", map[string]string{"Dockerfile": "-> none", "Containerfile": base}, Options{}, "Dockerfile is a link to none, which is not there"},
		{"a Dockerfile in a circle", map[string]string{"Dockerfile": "-> Dockerfile"}, Options{}, "leads in a circle"},
		{"a link inside", map[string]string{"Dockerfile": "-> docker/f", "docker/f": base}, Options{}, ""},
		{"named, outside", nil, Options{File: "CTX/../auth"}, "image not found"},
		{"an ignore file that leads out", map[string]string{"Dockerfile": base, ".dockerignore": "-> ../auth"}, Options{}, ".dockerignore is a link to ../auth, which leads out"},
		{"another one", map[string]string{"Dockerfile": base, ".containerignore": "-> ../auth"}, Options{}, "leads out"},
		{"the Dockerfile's own", map[string]string{"Dockerfile": base, "Dockerfile.dockerignore": "-> ../auth"}, Options{}, "leads out"},
		{"a dangling ignore file", map[string]string{"Dockerfile": base, ".dockerignore": "-> none"}, Options{}, ".dockerignore is a link to none, which is not there"},
		{"an ignore file by a link inside", map[string]string{"Dockerfile": base, ".dockerignore": "-> ign", "ign": "x\n"}, Options{}, ""},
		{"named, in the context, leading out", map[string]string{"Dockerfile": base, "ign": "-> ../auth"}, Options{IgnoreFile: "CTX/ign"}, "leads out"},
		{"named, elsewhere", map[string]string{"Dockerfile": base}, Options{IgnoreFile: "CTX/../auth"}, ""},
		{"a directory as an ignore file", map[string]string{"Dockerfile": base, ".dockerignore/x": ""}, Options{}, "is a directory"},
		{"an ignore file in UTF-16", map[string]string{"Dockerfile": base, ".dockerignore": "\xff\xfex\x00\n\x00"}, Options{}, ".dockerignore: invalid argument: it is in UTF-16"},
	}
	for _, test := range tests {
		out := t.TempDir()
		dir := filepath.Join(out, "ctx")
		putFile(t, filepath.Join(out, "auth"), hostSecret+"\n")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range test.files {
			putFile(t, filepath.Join(dir, name), strings.ReplaceAll(text, "OUT", out))
		}
		opts := test.opts
		opts.ContextDir = dir
		opts.File, opts.IgnoreFile = strings.Replace(opts.File, "CTX", dir, 1), strings.Replace(opts.IgnoreFile, "CTX", dir, 1)
		for i, name := range opts.MoreFiles {
			opts.MoreFiles[i] = strings.Replace(name, "CTX", dir, 1)
		}
		_, err := build(t.Context(), &fake{images: map[string]builder.Config{"base": {}}}, opts)
		if (test.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
		var e *Error
		if named := strings.Contains(test.name, "named, outside"); errors.As(err, &e) && !named && strings.Contains(e.Excerpt+e.Error(), hostSecret) {
			t.Errorf("%s: the error shows what is outside of the context: %v\n%s", test.name, err, e.Excerpt)
		}
	}
}

// A pipe or a device of a context is no file of it, and what does not end is not read to
// its end. None of them is waited for.
func TestSpecialFilesOfTheContext(t *testing.T) {
	for _, name := range []string{"Dockerfile", ".dockerignore", "Dockerfile.containerignore", "df"} {
		dir := t.TempDir()
		if name != "Dockerfile" {
			writeFile(t, filepath.Join(dir, "Dockerfile"), "FROM base\n")
		}
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		opts := Options{ContextDir: dir}
		if name == "df" {
			opts.File = filepath.Join(dir, name)
		}
		_, err := soon(t, func() (builder.Image, error) { return build(t.Context(), &fake{}, opts) })
		if !errors.Is(err, foreign.ErrSpecial) {
			t.Errorf("a pipe as %s: %v", name, err)
		}
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "Dockerfile"), "FROM base\n")
	for _, opts := range []Options{{IgnoreFile: "/dev/zero"}, {File: "/dev/zero"}, {MoreFiles: []string{"/dev/zero"}}} {
		opts.ContextDir = dir
		var limit *foreign.LimitError
		if _, err := build(t.Context(), &fake{}, opts); !errors.As(err, &limit) || limit.Name != "/dev/zero" {
			t.Errorf("what does not end: %v", err)
		}
	}
}

// soon fails the test when f does not return.
func soon[T any](t *testing.T, f func() (T, error)) (T, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	v, err := foreign.Await(ctx, f)
	if ctx.Err() != nil {
		t.Fatal("it waits")
	}
	return v, err
}

// A named pipe may be a Dockerfile that the user names, as of a shell's <(command), and a
// stream may be the context. That the context of the call ends ends the waiting.
func TestWaitingForInputEnds(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(pipe, os.O_RDWR, 0) // a writer that writes nothing
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	never, _ := io.Pipe()
	for name, opts := range map[string]Options{
		"a named Dockerfile": {File: pipe}, "a Dockerfile's stream": {Dockerfile: never}, "a context's stream": {Context: never},
		"an ignore file": {ContextDir: t.TempDir(), Dockerfile: strings.NewReader("FROM base\n"), IgnoreFile: pipe},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := soon(t, func() (builder.Image, error) { return build(ctx, &fake{}, opts) })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	fmt.Fprint(w, "FROM base\n")
	go func() { time.Sleep(50 * time.Millisecond); w.Close() }()
	if _, err := build(t.Context(), &fake{images: map[string]builder.Config{"base": {}}}, Options{File: pipe}); err != nil {
		t.Error(err)
	}
}

// The patterns of ignore files and --exclude are such that comparing a path with them all
// takes no time.
func TestPatternLimits(t *testing.T) {
	for name, text := range map[string]string{
		"length": strings.Repeat("a", foreign.MaxPattern+1), "line": strings.Repeat("a", 1<<18), "file": strings.Repeat("a\n", foreign.MaxIgnoreFile),
		"patterns": strings.Repeat("a\n", foreign.MaxPatterns+1), "wildcards": strings.Repeat("**/", foreign.MaxWildcards+2) + "x\n", "many with wildcards": strings.Repeat("*.a\n", foreign.MaxWildcards+1),
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "Dockerfile"), "FROM base\n")
		writeFile(t, filepath.Join(dir, ".dockerignore"), text)
		var limit *foreign.LimitError
		_, err := build(t.Context(), &fake{}, Options{ContextDir: dir})
		if !errors.As(err, &limit) || !strings.Contains(err.Error(), ".dockerignore") {
			t.Errorf("%s: %v", name, err)
		}
		_, err = buildText(t, "FROM base\nCOPY --exclude="+strings.Repeat("a", foreign.MaxPattern+1)+" . /\n", nil)
		if !errors.As(err, &limit) {
			t.Errorf("--exclude: %v", err)
		}
	}
}

// Long ignore files of simple patterns are taken.
func TestManyPatterns(t *testing.T) {
	text := strings.Repeat("**/node_modules\n!a/b/**\n**/*.pyc\n# c\n", 900)
	if patterns, err := parseIgnore(".dockerignore", []byte(text)); err != nil || len(patterns) != 2700 {
		t.Errorf("%d patterns, %v", len(patterns), err)
	}
}

// What is no text in UTF-8 is said to be none.
func TestEncodings(t *testing.T) {
	for text, says := range map[string]string{
		"\xff\xfeF\x00R\x00O\x00M\x00":          "in UTF-16",
		"\xfe\xff\x00F\x00R\x00O\x00M":          "in UTF-16",
		"F\x00R\x00O\x00M\x00 \x00b\x00":        "in UTF-16",
		"\xff\xfe\x00\x00F\x00\x00\x00":         "in UTF-32",
		"\x7fELF\x02\x01\x01\x00 and all":       "not a text",
		"\x7fELF" + strings.Repeat("\x00", 600): "not a text",
		"\ufeffFROM base\r\nRUN a\r\n":          "",
		"# caf\xe9\nFROM base\n":                "",
	} {
		_, err := buildText(t, text, nil)
		if (says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Hint != "save it as UTF-8") {
			t.Errorf("%q: no hint: %v", text, err)
		}
	}
}
