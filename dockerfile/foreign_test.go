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

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/limits"
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
		{"by a directory", map[string]string{"d": "-> .."}, Options{File: File{Path: "CTX/d/auth"}}, "d/auth: it leads out of the directory"},
		{"named, in the context", map[string]string{"df": "-> ../auth"}, Options{File: File{Path: "CTX/df"}}, "df is a link to ../auth, which leads out"},
		{"a further one", map[string]string{"Dockerfile": base, "df": "-> ../auth"}, Options{File: File{More: []string{"CTX/df"}}}, "leads out"},
		{"a dangling Dockerfile", map[string]string{"Dockerfile": "-> none", "Containerfile": base}, Options{}, "Dockerfile is a link to none, which is not there"},
		{"a Dockerfile in a circle", map[string]string{"Dockerfile": "-> Dockerfile"}, Options{}, "leads in a circle"},
		{"a link inside", map[string]string{"Dockerfile": "-> docker/f", "docker/f": base}, Options{}, ""},
		{"named, outside", nil, Options{File: File{Path: "CTX/../auth"}}, "image not found"},
		{"an ignore file that leads out", map[string]string{"Dockerfile": base, ".dockerignore": "-> ../auth"}, Options{}, ".dockerignore is a link to ../auth, which leads out"},
		{"another one", map[string]string{"Dockerfile": base, ".containerignore": "-> ../auth"}, Options{}, "leads out"},
		{"the Dockerfile's own", map[string]string{"Dockerfile": base, "Dockerfile.dockerignore": "-> ../auth"}, Options{}, "leads out"},
		{"a dangling ignore file", map[string]string{"Dockerfile": base, ".dockerignore": "-> none"}, Options{}, ".dockerignore is a link to none, which is not there"},
		{"an ignore file by a link inside", map[string]string{"Dockerfile": base, ".dockerignore": "-> ign", "ign": "x\n"}, Options{}, ""},
		{"named, in the context, leading out", map[string]string{"Dockerfile": base, "ign": "-> ../auth"}, Options{Context: Context{IgnoreFile: "CTX/ign"}}, "leads out"},
		{"named, elsewhere", map[string]string{"Dockerfile": base}, Options{Context: Context{IgnoreFile: "CTX/../auth"}}, ""},
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
		opts.Context.Dir = dir
		opts.File.Path, opts.Context.IgnoreFile = strings.Replace(opts.File.Path, "CTX", dir, 1), strings.Replace(opts.Context.IgnoreFile, "CTX", dir, 1)
		for i, name := range opts.File.More {
			opts.File.More[i] = strings.Replace(name, "CTX", dir, 1)
		}
		_, err := Build(t.Context(), (&fake{images: map[string]builder.Config{"base": {}}}).builder(t), opts)
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
		opts := Options{Context: Context{Dir: dir}}
		if name == "df" {
			opts.File.Path = filepath.Join(dir, name)
		}
		_, err := soon(t, func() (builder.Image, error) { return Build(t.Context(), (&fake{}).builder(t), opts) })
		if !errors.Is(err, foreign.ErrSpecial) {
			t.Errorf("a pipe as %s: %v", name, err)
		}
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "Dockerfile"), "FROM base\n")
	for _, opts := range []Options{{Context: Context{IgnoreFile: "/dev/zero"}}, {File: File{Path: "/dev/zero"}}, {File: File{More: []string{"/dev/zero"}}}} {
		opts.Context.Dir = dir
		var limit *limits.LimitError
		if _, err := Build(t.Context(), (&fake{}).builder(t), opts); !errors.As(err, &limit) || limit.Name != "/dev/zero" {
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
		"a named Dockerfile": {File: File{Path: pipe}}, "a Dockerfile's stream": {File: File{Text: never}}, "a context's stream": {Context: Context{Stream: never}},
		"an ignore file": {Context: Context{Dir: t.TempDir(), IgnoreFile: pipe}, File: File{Text: strings.NewReader("FROM base\n")}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := soon(t, func() (builder.Image, error) { return Build(ctx, (&fake{}).builder(t), opts) })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	fmt.Fprint(w, "FROM base\n")
	go func() {
		defer w.Close()
		unread := []unix.PollFd{{Fd: int32(w.Fd()), Events: unix.POLLIN}}
		for n := 1; n > 0; time.Sleep(time.Millisecond) {
			n, _ = unix.Poll(unread, 0)
		}
	}()
	if _, err := Build(t.Context(), (&fake{images: map[string]builder.Config{"base": {}}}).builder(t), Options{File: File{Path: pipe}}); err != nil {
		t.Error(err)
	}
}

// The patterns of ignore files and --exclude are such that comparing a path with them all
// takes no time.
func TestPatternLimits(t *testing.T) {
	for name, text := range map[string]string{
		"length": strings.Repeat("a", limits.MaxPattern+1), "line": strings.Repeat("a", 1<<18), "file": strings.Repeat("a\n", limits.MaxIgnoreFile),
		"patterns": strings.Repeat("a\n", limits.MaxPatterns+1), "wildcards": strings.Repeat("**/", limits.MaxWildcards+2) + "x\n", "many with wildcards": strings.Repeat("*.a\n", limits.MaxWildcards+1),
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "Dockerfile"), "FROM base\n")
		writeFile(t, filepath.Join(dir, ".dockerignore"), text)
		var limit *limits.LimitError
		_, err := Build(t.Context(), (&fake{}).builder(t), Options{Context: Context{Dir: dir}})
		if !errors.As(err, &limit) || !strings.Contains(err.Error(), ".dockerignore") {
			t.Errorf("%s: %v", name, err)
		}
		_, err = buildText(t, "FROM base\nCOPY --exclude="+strings.Repeat("a", limits.MaxPattern+1)+" . /\n", nil)
		if !errors.As(err, &limit) {
			t.Errorf("--exclude: %v", err)
		}
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
