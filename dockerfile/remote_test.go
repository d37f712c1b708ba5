package dockerfile_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile"
)

// archive is a tar archive, compressed, of files: name to content.
func archive(t *testing.T, files map[string]string) string {
	t.Helper()
	return archiveOf(t, 0, files)
}

// archiveOf is archive with the files' time.
func archiveOf(t *testing.T, at int64, files map[string]string) string {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for name, content := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Uid: 7, Gid: 7, Size: int64(len(content)), ModTime: time.Unix(at, 0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// web serves files by path, and git repositories: a directory's files, committed, at
// /name.git.
func web(t *testing.T, files map[string]string, repos map[string]map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range repos {
		dir := filepath.Join(root, name)
		for file, text := range content {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"}, {"commit", "--quiet", "--message=x"}} {
			cmd := exec.Command("git", args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("git %q: %v: %s", args, err, out)
			}
		}
	}
	backend := &cgi.Handler{Path: "/usr/lib/git-core/git-http-backend", Stderr: io.Discard, Env: []string{
		"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[r.URL.Path]
		name, rest, isRepo := strings.Cut(r.URL.Path, ".git/")
		switch {
		case ok:
			w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
			fmt.Fprint(w, content)
		case isRepo:
			r.URL.Path = name + "/.git/" + rest
			backend.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// build builds a Dockerfile given as text, whose image has busybox.
func build(t *testing.T, b *builder.Builder, text string, opts dockerfile.Options) builder.Image {
	t.Helper()
	if text != "" {
		opts.File.Path = filepath.Join(t.TempDir(), "Dockerfile")
		if err := os.WriteFile(opts.File.Path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img, err := dockerfile.Build(t.Context(), b, opts)
	if err != nil {
		t.Fatal(explained(err))
	}
	return img
}

// inImage fails the test unless a script writes the lines wanted in an image.
func inImage(t *testing.T, b *builder.Builder, img builder.Image, script string, want ...string) {
	t.Helper()
	s, err := b.Stage(t.Context(), img.ID, builder.StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out bytes.Buffer
	env := "for a in ls stat cat; do eval \"$a() { /busybox $a \\\"\\$@\\\"; }\"; done; "
	_, err = s.Run(t.Context(), builder.Cmd{Args: []string{"/busybox", "sh", "-c", env + script}, Ephemeral: true, Stdout: &out, Stderr: &out})
	if got := strings.TrimSuffix(out.String(), "\n"); got != strings.Join(want, "\n") || err != nil {
		t.Errorf("%s\ngot:\n%s\nwant:\n%s\n(%v)", script, got, strings.Join(want, "\n"), err)
	}
}

func TestAddRemote(t *testing.T) {
	url := web(t, map[string]string{"/d/f.txt": "content", "/a.tgz": archive(t, map[string]string{"in": "in"})},
		map[string]map[string]string{"r": {"sub/g": "g", "h": "h"}})
	context := contextDir(t)
	if err := os.WriteFile(filepath.Join(context, "local.tgz"), []byte(archive(t, map[string]string{"l": "l"})), 0o644); err != nil {
		t.Fatal(err)
	}
	b := open(t)
	img := build(t, b, `FROM scratch
COPY busybox /
ARG U
ENV SUM=sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73
ADD --checksum=$SUM $U/d/f.txt /one
ADD --chown=5:6 --chmod=644 $U/d/f.txt $U/a.tgz local.tgz /two/
ADD --unpack=true $U/a.tgz /three/
ADD --unpack=false local.tgz /four/
ADD $U/r.git#main:sub /git/
ADD --keep-git-dir=true --exclude=h $U/r.git /kept
ADD $U/r.git?subdir=sub $U/r.git /both/
ADD --link $U/d/f.txt /linked
`, dockerfile.Options{Context: dockerfile.Context{Dir: context}, BuildArgs: map[string]*string{"U": &url}})
	inImage(t, b, img, "stat -c '%n %a %u:%g %Y' /one /two/f.txt /linked; cat /one /linked; echo; for d in two three four git both kept; do echo $d $(ls $d); done; ls /kept/.git/HEAD",
		"/one 600 0:0 1445412480", "/two/f.txt 644 5:6 1445412480", "/linked 600 0:0 1445412480", "contentcontent",
		"two a.tgz f.txt l", "three in", "four local.tgz", "git g", "both g h sub", "kept sub", "/kept/.git/HEAD")
}

// What cannot be fetched is told with its line, and without credentials.
func TestAddRemoteFails(t *testing.T) {
	url := web(t, map[string]string{"/f": "content"}, map[string]map[string]string{"r": {"f": "f"}})
	b := open(t)
	secret := strings.Replace(url, "//", "//user:TOK@", 1)
	for _, source := range []string{
		secret + "/none", "http://user:TOK@127.0.0.1:1/f", secret + "/none.git", secret + "/r.git#none", secret + "/r.git#main:none",
		"--checksum=sha256:" + strings.Repeat("0", 64) + " " + secret + "/f", "--checksum=0123456 " + secret + "/r.git",
	} {
		file := filepath.Join(t.TempDir(), "Dockerfile")
		if err := os.WriteFile(file, []byte("FROM scratch\nADD "+source+" /x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		_, err := dockerfile.Build(t.Context(), b, dockerfile.Options{File: dockerfile.File{Path: file}, Progress: func(e dockerfile.Event) { fmt.Fprint(&shown, e.Instruction, e.Text, e.Err) }})
		var fault *dockerfile.Error
		if !errors.As(err, &fault) || fault.Line != 2 || !errors.Is(err, builder.ErrFetch) {
			t.Errorf("%s: got %v", source, err)
			continue
		}
		if all := shown.String() + fault.Error() + fault.Excerpt; strings.Contains(all, "TOK") {
			t.Errorf("%s: shown: %s", source, all)
		}
	}
}

// contextFiles are a context whose Dockerfile and ignore file count.
func contextFiles(t *testing.T, top string) map[string]string {
	t.Helper()
	bin, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatalf("%v; hack/deps installs busybox-static", err)
	}
	return map[string]string{
		top + "Dockerfile": "FROM scratch\nCOPY . /\nCOPY --chown=3 d /e\n", top + "other": "FROM scratch\nCOPY busybox /only\nCOPY busybox /busybox\n",
		top + ".dockerignore": "ignored\n*ockerfile\nother\n", top + "ignored": "x", top + "d/f": "f", top + "busybox": string(bin),
	}
}

func TestContexts(t *testing.T) {
	files := contextFiles(t, "")
	plain := "FROM scratch\nCOPY <<EOF /f\nx\nEOF\n"
	url := web(t, map[string]string{"/ctx.tar.gz": archive(t, files), "/Dockerfile": plain},
		map[string]map[string]string{"r": files, "deep": contextFiles(t, "a/b/")})
	b := open(t)
	tarball := archive(t, files)
	const all = "ls -d /Dockerfile /.dockerignore /ignored /other /busybox /only /d /e 2>/dev/null; true; "
	for name, opts := range map[string]dockerfile.Options{
		"git":           {Context: dockerfile.Context{URL: url + "/r.git#main"}},
		"git directory": {Context: dockerfile.Context{URL: url + "/deep.git#:a/b"}},
		"archive":       {Context: dockerfile.Context{URL: url + "/ctx.tar.gz"}},
		"stream":        {Context: dockerfile.Context{Stream: strings.NewReader(tarball)}},
	} {
		t.Run(name, func(t *testing.T) {
			inImage(t, b, build(t, b, "", opts), all+"stat -c '%n %a %u:%g' /d/f /e/f", "/.dockerignore", "/busybox", "/d", "/e", "/d/f 755 0:0", "/e/f 755 3:3")
			opts.File.Path = "other"
			if opts.Context.Stream != nil {
				opts.Context.Stream = strings.NewReader(tarball)
			}
			inImage(t, b, build(t, b, "", opts), all, "/busybox", "/only")
			opts.File.Path = "../../../../etc/passwd"
			if opts.Context.Stream != nil {
				opts.Context.Stream = strings.NewReader(tarball)
			}
			if _, err := dockerfile.Build(t.Context(), b, opts); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a Dockerfile outside: %v", err)
			}
		})
	}
	for name, opts := range map[string]dockerfile.Options{
		"Dockerfile of the web": {Context: dockerfile.Context{URL: url + "/Dockerfile"}}, "Dockerfile of the web, with a context": {Context: dockerfile.Context{Dir: t.TempDir()}, File: dockerfile.File{Path: url + "/Dockerfile"}},
		"streamed Dockerfile": {Context: dockerfile.Context{Stream: strings.NewReader(plain)}}, "streamed Dockerfile, with a context": {Context: dockerfile.Context{Dir: t.TempDir()}, File: dockerfile.File{Text: strings.NewReader(plain)}},
		"streamed Dockerfile, with a fetched context": {Context: dockerfile.Context{URL: url + "/r.git"}, File: dockerfile.File{Text: strings.NewReader(plain)}},
	} {
		t.Run(name, func(t *testing.T) { build(t, b, "", opts) })
	}
}

// Several Dockerfiles are looked up where the first is; those of the web anywhere.
func TestSeveralFilesOfContexts(t *testing.T) {
	files := map[string]string{"one": "FROM scratch AS a\nCOPY busybox /\n", "sub/two": "COPY busybox /two\nLABEL x=y\n", "bad": "\nCOPY --form=x a b\n", "busybox": contextFiles(t, "")["busybox"]}
	url := web(t, map[string]string{"/ctx.tgz": archive(t, files), "/more": "FROM a\nCOPY busybox /more\n"}, map[string]map[string]string{"r": files})
	b := open(t)
	for name, opts := range map[string]func() dockerfile.Options{
		"git": func() dockerfile.Options { return dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git"}} },
		"archive": func() dockerfile.Options {
			return dockerfile.Options{Context: dockerfile.Context{URL: url + "/ctx.tgz"}}
		},
		"stream": func() dockerfile.Options {
			return dockerfile.Options{Context: dockerfile.Context{Stream: strings.NewReader(archive(t, files))}}
		},
	} {
		o := opts()
		o.File.Path, o.File.More = "one", []string{"sub/two", url + "/more"}
		inImage(t, b, build(t, b, "", o), "cd /; ls -d busybox two more", "busybox", "more", "two")
		o = opts()
		o.File.Path, o.File.More = "one", []string{"bad"}
		_, err := dockerfile.Build(t.Context(), b, o)
		var fault *dockerfile.Error
		if !errors.As(err, &fault) || fault.File != "bad" || fault.Line != 2 || fault.Hint != "did you mean --from?" {
			t.Errorf("%s: %+v", name, err)
		}
		o = opts()
		o.File.Path, o.File.More = "one", []string{"../../../etc/passwd"}
		if _, err := dockerfile.Build(t.Context(), b, o); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a Dockerfile outside: %v", name, err)
		}
	}
}

// A Dockerfile that is elsewhere is checked through a Builder, which is opened for that.
func TestCheckContexts(t *testing.T) {
	const text = "FROM scratch AS a\nCOPY ignored /\nCMD x\n"
	files := map[string]string{"Dockerfile": text, ".dockerignore": "ignored\n"}
	url := web(t, map[string]string{"/ctx.tgz": archive(t, files), "/Dockerfile": text}, map[string]map[string]string{"r": files})
	b := open(t)
	opened := 0
	library := func(context.Context) (*builder.Builder, error) { opened++; return b, nil }
	for name, test := range map[string]struct {
		opts  dockerfile.Options
		opens int
		rules string
	}{
		"git":                {dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git"}}, 1, "CopyIgnoredFile JSONArgsRecommended"},
		"archive":            {dockerfile.Options{Context: dockerfile.Context{URL: url + "/ctx.tgz"}}, 1, "CopyIgnoredFile JSONArgsRecommended"},
		"Dockerfile":         {dockerfile.Options{Context: dockerfile.Context{URL: url + "/Dockerfile"}}, 1, "JSONArgsRecommended"},
		"file of the web":    {dockerfile.Options{Context: dockerfile.Context{Dir: t.TempDir()}, File: dockerfile.File{Path: url + "/Dockerfile"}}, 1, "JSONArgsRecommended"},
		"stream":             {dockerfile.Options{Context: dockerfile.Context{Stream: strings.NewReader(archive(t, files))}}, 1, "CopyIgnoredFile JSONArgsRecommended"},
		"streamed file":      {dockerfile.Options{Context: dockerfile.Context{Stream: strings.NewReader("FROM scratch\nCMD x\n")}}, 0, "JSONArgsRecommended"},
		"file on its stream": {dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git"}, File: dockerfile.File{Text: strings.NewReader("FROM scratch\nCMD x\n")}}, 1, "JSONArgsRecommended"},
	} {
		opened, test.opts.Open = 0, library
		report, err := dockerfile.Check(t.Context(), test.opts)
		var rules []string
		for _, f := range report.Findings {
			rules = append(rules, f.Rule)
		}
		if got := strings.Join(rules, " "); got != test.rules || err != nil || opened != test.opens {
			t.Errorf("%s: found %s, %v; opened %d times", name, got, err, opened)
		}
	}
	report, err := dockerfile.Describe(t.Context(), dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git"}, Open: library})
	if err != nil || len(report.Findings) != 0 || len(report.Targets) != 1 || report.Targets[0].Name != "a" {
		t.Errorf("described: %+v, %v", report, err)
	}
	if _, err := dockerfile.Check(t.Context(), dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git"}}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without a Builder: %v", err)
	}
}

// SOURCE_DATE_EPOCH may name what the time is taken from.
func TestEpochOfSources(t *testing.T) {
	const dockerfileText = "ARG SOURCE_DATE_EPOCH\nFROM scratch\nARG SOURCE_DATE_EPOCH\nENV AT=$SOURCE_DATE_EPOCH\nCOPY busybox /\n"
	t.Setenv("GIT_COMMITTER_DATE", "2020-01-02T03:04:05Z")
	files := map[string]string{"Dockerfile": dockerfileText, "busybox": contextFiles(t, "")["busybox"]}
	files["withdefault"] = strings.Replace(dockerfileText, "EPOCH\n", "EPOCH=context\n", 1)
	url := web(t, map[string]string{"/ctx.tgz": archive(t, files), "/old.tgz": archiveOf(t, 1600000000, files)}, map[string]map[string]string{"r": files})
	undated := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, archiveOf(t, 1600000000, files))
	}))
	defer undated.Close()
	b := open(t)
	dir := contextDir(t)
	stage := "FROM scratch AS src\nARG U\nADD $U /\n"
	const commit, modified, latest = 1577934245, 1445412480, 1600000000
	for name, test := range map[string]struct {
		text, epoch, u string
		opts           dockerfile.Options
		want           int64
	}{
		"git":                      {epoch: "context", opts: dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git"}}, want: commit},
		"git, by the Dockerfile":   {opts: dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git"}, File: dockerfile.File{Path: "withdefault"}}, want: commit},
		"a file's Last-Modified":   {epoch: "context", opts: dockerfile.Options{Context: dockerfile.Context{URL: url + "/ctx.tgz"}}, want: modified},
		"an archive's latest file": {epoch: "context", opts: dockerfile.Options{Context: dockerfile.Context{URL: undated.URL + "/x.tgz"}}, want: latest},
		"a stream":                 {epoch: "context", opts: dockerfile.Options{Context: dockerfile.Context{Stream: strings.NewReader(archiveOf(t, 1600000000, files))}}, want: latest},
		"a named context":          {text: dockerfileText, epoch: "SRC", opts: dockerfile.Options{Context: dockerfile.Context{Dir: dir, Named: map[string]string{"src": url + "/r.git"}}}, want: commit},
		"a stage with git":         {text: stage + dockerfileText, epoch: "src", u: url + "/r.git", opts: dockerfile.Options{Context: dockerfile.Context{Dir: dir}}, want: commit},
		"a stage with a URL":       {text: stage + dockerfileText, epoch: "src", u: url + "/old.tgz", opts: dockerfile.Options{Context: dockerfile.Context{Dir: dir}}, want: modified},
		"a stage with an archive":  {text: stage + dockerfileText, epoch: "src", u: undated.URL + "/x", opts: dockerfile.Options{Context: dockerfile.Context{Dir: dir}}, want: latest},
	} {
		test.opts.BuildArgs = map[string]*string{"U": &test.u}
		if test.epoch != "" {
			test.opts.BuildArgs["SOURCE_DATE_EPOCH"] = &test.epoch
		}
		img := build(t, b, strings.Replace(test.text, "ARG SOURCE_DATE_EPOCH\nFROM scratch\n", "FROM scratch\n", 1), test.opts)
		info := inspect(t, b, img.ID)
		if at := info.Created.Unix(); at != test.want || !slices.Contains(info.Config.Env, fmt.Sprintf("AT=%d", test.want)) {
			t.Errorf("%s: created at %d, want %d; %q", name, at, test.want, info.Config.Env)
		}
	}
}

// The files of a repository that is the context have its .git directory and the commit's
// time when build arguments ask for it.
func TestGitContextArguments(t *testing.T) {
	t.Setenv("GIT_COMMITTER_DATE", "2020-01-02T03:04:05Z")
	url := web(t, nil, map[string]map[string]string{"r": contextFiles(t, "")})
	b := open(t)
	yes, at := "1", "7"
	img := build(t, b, "", dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git"}, BuildArgs: map[string]*string{"BUILDKIT_CONTEXT_KEEP_GIT_DIR": &yes, "SOURCE_DATE_EPOCH": &at},
		Progress: func(e dockerfile.Event) {
			if e.Kind == dockerfile.Warning && strings.Contains(e.Text, "is not used") {
				t.Error(e.Text)
			}
		}})
	inImage(t, b, img, "stat -c '%n %Y' /d/f; ls /.git/HEAD", "/d/f 1577934245", "/.git/HEAD")
}

func TestContextsThatCannotBe(t *testing.T) {
	url := web(t, map[string]string{"/empty.tgz": archive(t, nil), "/cut.tgz": archive(t, contextFiles(t, ""))[:5000], "/bad": "FROM scratch\nCPOY a b\n"}, map[string]map[string]string{"r": {"f": "f"}})
	b := open(t)
	for name, test := range map[string]struct {
		opts dockerfile.Options
		says string
	}{
		"no repository":      {dockerfile.Options{Context: dockerfile.Context{URL: url + "/none.git"}}, "none.git: git ls-remote"},
		"no file":            {dockerfile.Options{Context: dockerfile.Context{URL: url + "/none"}}, "404 Not Found"},
		"no Dockerfile":      {dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git"}}, "no Dockerfile, dockerfile or Containerfile in the build context"},
		"empty archive":      {dockerfile.Options{Context: dockerfile.Context{URL: url + "/empty.tgz"}}, "no Dockerfile"},
		"cut archive":        {dockerfile.Options{Context: dockerfile.Context{URL: url + "/cut.tgz"}}, "build context: "},
		"bad Dockerfile":     {dockerfile.Options{Context: dockerfile.Context{URL: url + "/bad"}}, url + "/bad:2: "},
		"nothing":            {dockerfile.Options{Context: dockerfile.Context{Stream: strings.NewReader("")}}, "the Dockerfile is empty"},
		"garbage":            {dockerfile.Options{Context: dockerfile.Context{Stream: strings.NewReader("\x1f\x8b\x08garbage")}}, "build context: "},
		"COPY without files": {dockerfile.Options{Context: dockerfile.Context{Stream: strings.NewReader("FROM scratch\nCOPY a b\n")}}, "Dockerfile:2: COPY: there is no build context"},
		"a path":             {dockerfile.Options{Context: dockerfile.Context{URL: "/etc"}}, "neither a git repository nor"},
		"another protocol":   {dockerfile.Options{Context: dockerfile.Context{URL: "file:///etc"}}, "neither a git repository nor"},
		"bad reference":      {dockerfile.Options{Context: dockerfile.Context{URL: url + "/r.git#-x"}}, "cannot be the name of a branch"},
		"two contexts":       {dockerfile.Options{Context: dockerfile.Context{URL: url, Dir: "."}}, "several contexts"},
	} {
		_, err := dockerfile.Build(t.Context(), b, test.opts)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want %q", name, err, test.says)
		}
	}
}

// A Dockerfile that is a link out of an archive is not written or read through.
func TestHostileContext(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("FROM scratch\nLABEL secret=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := tw.WriteHeader(&tar.Header{Name: "Dockerfile", Typeflag: tar.TypeSymlink, Linkname: victim}); err != nil {
		t.Fatal(err)
	}
	if err := tw.Flush(); err != nil {
		t.Fatal(err)
	}
	buf.WriteString(strings.Repeat("garbage", 1000))
	b := open(t)
	url := web(t, map[string]string{"/partial.tar": buf.String()}, nil)
	for _, opts := range []dockerfile.Options{{Context: dockerfile.Context{URL: url + "/partial.tar"}}, {Context: dockerfile.Context{Stream: bytes.NewReader(buf.Bytes())}}, {Context: dockerfile.Context{Stream: bytes.NewReader(append(buf.Bytes()[:512:512], make([]byte, 1024)...))}}} {
		if _, err := dockerfile.Build(t.Context(), b, opts); err == nil {
			t.Error("no error")
		}
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "FROM scratch\nLABEL secret=1\n" {
		t.Errorf("the victim is now %q (%v)", data, err)
	}
}

// Named contexts stand for images, in any form of their names, and for stages.
func TestNamedContexts(t *testing.T) {
	files := contextFiles(t, "")
	url := web(t, map[string]string{"/ctx.tgz": archive(t, files), "/file": "file"}, map[string]map[string]string{"r": {"g": "g", "sub/h": "h"}})
	dir := t.TempDir()
	for name, content := range map[string]string{".dockerignore": "f", ".containerignore": "ignored", "ignored": "x", "f": "f", "busybox": files["busybox"]} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t)
	img := build(t, b, "FROM scratch\nWORKDIR /w\nCOPY f /image\nENV A=image\n", dockerfile.Options{Context: dockerfile.Context{Dir: dir}, Image: dockerfile.Image{Names: []string{"localhost/img:1"}}})
	layout := filepath.Join(t.TempDir(), "layout")
	sum, err := b.Push(t.Context(), img.ID, "oci:"+layout+":v1", builder.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	img = build(t, b, `FROM golang:1.21 AS tree
FROM img AS fromimage
FROM replaced.example/none AS stage
RUN never run
FROM tree
COPY --from=docker.io/library/golang:1.21 f /dir
COPY --from=FROMIMAGE image /image
COPY --from=stage image /stage
COPY --from=git sub/h /git
COPY --from=web busybox /web
COPY --from=one context /one
COPY --from=tagged image /tagged
COPY --from=summed --chown=4 image /summed
COPY --from=only --chown=5 image /only
COPY --from=digest --chown=6 image /digest
`, dockerfile.Options{Context: dockerfile.Context{Dir: dir, Named: map[string]string{
		"golang:1.21": dir, "img": "docker-image://localhost/img:1", "stage": "container-image://localhost/img:1", "git": url + "/r.git#main", "web": url + "/ctx.tgz", "one": url + "/file",
		"tagged": "oci-layout://" + layout + ":v1", "summed": "oci-layout://" + layout + "@" + sum.Digest.String(), "unused": "docker://none.example/x",
		"only::linux/" + runtime.GOARCH: "docker-image://localhost/img:1", "only": dir + "/", "digest": "docker-image://localhost/img@" + inspect(t, b, "localhost/img:1").Digest.String(),
	}}})
	inImage(t, b, img, "ls -d /ignored 2>/dev/null; cd /; stat -c '%n %u %s' f dir image stage git one tagged summed only digest",
		"f 0 1", "dir 0 1", "image 0 1", "stage 0 1", "git 0 1", "one 0 4", "tagged 0 1", "summed 4 1", "only 5 1", "digest 6 1")
	based := build(t, b, "FROM x\nCOPY busybox /\n", dockerfile.Options{Context: dockerfile.Context{Dir: dir, Named: map[string]string{"X": "oci-layout://" + layout + ":v1"}}})
	inImage(t, b, based, "echo $A; pwd; cat /image", "image", "/w", "f")
	for value, says := range map[string]string{
		"": "needs a name and a value", dir + "/none": "no such file", dir + "/f": "not a directory", "ftp://x": "none of a directory", "oci-layout://" + dir: "index.json",
		"oci-layout://" + layout + "@sha256:00": "not in the layout", "https://u:TOK@x/r.git#-x": "cannot be the name", url + "/none.git": "git ls-remote",
		"docker-image://none.invalid/x": "none.invalid", "target:x": "docker-image://TAG", "input:x": "docker-image://TAG", "oci-layout://" + layout + ":v2": "v2",
	} {
		file := filepath.Join(t.TempDir(), "Dockerfile")
		if err := os.WriteFile(file, []byte("FROM x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := dockerfile.Build(t.Context(), b, dockerfile.Options{File: dockerfile.File{Path: file}, Context: dockerfile.Context{Named: map[string]string{"x": value}}})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "TOK") {
			t.Errorf("%s: got %v, want %q", value, err, says)
		}
	}
}

// TestNamedDirectoryStays checks that of a directory which is only copied from just the
// named files are read: no other layer than the COPY's is made.
func TestNamedDirectoryStays(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, name := range []string{".dockerignore", "a", "b"} {
		if err := os.WriteFile(filepath.Join(other, name), []byte("b"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t)
	before, err := b.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	opts := dockerfile.Options{Context: dockerfile.Context{Dir: dir, Named: map[string]string{"other": other}}}
	build(t, b, "FROM scratch\nCOPY --from=other a /\n", opts)
	after, err := b.Info(t.Context())
	if err != nil || after.Layers != before.Layers+1 {
		t.Errorf("%d layers were made, want 1 (error %v)", after.Layers-before.Layers, err)
	}
	file := filepath.Join(dir, "Dockerfile")
	if err := os.WriteFile(file, []byte("FROM scratch\nCOPY --from=other b /\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err = dockerfile.Build(t.Context(), b, opts); !errors.Is(err, builder.ErrNotFound) {
		t.Errorf("an ignored file: got %v, want that it is not found", err)
	}
}

// The archives that a Dockerfile names are files of its context, also of one that came as a
// stream or from a repository.
func TestArchivesOfFetchedContexts(t *testing.T) {
	t.Parallel()
	b := open(t)
	s, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(t.Context(), "/", builder.FS(fstest.MapFS{"f": {Data: []byte("base"), Mode: 0o644}})); err != nil {
		t.Fatal(err)
	}
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "base.tar")
	if _, err := b.Push(t.Context(), img.ID, "oci-archive:"+file, builder.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"Dockerfile": "FROM oci-archive:sub/base.tar\nCOPY --from=oci-archive:/sub/base.tar f /g\n", "sub/base.tar": string(base)}
	url := web(t, nil, map[string]map[string]string{"r": files})
	for name, opts := range map[string]dockerfile.Options{
		"a stream": {Context: dockerfile.Context{Stream: strings.NewReader(archive(t, files))}}, "a repository": {Context: dockerfile.Context{URL: url + "/r.git"}},
	} {
		img, err := dockerfile.Build(t.Context(), b, opts)
		if err != nil {
			t.Fatalf("%s: %v", name, explained(err))
		}
		built, err := b.Stage(t.Context(), img.ID, builder.StageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"f", "g"} {
			if text, err := built.ReadFile(t.Context(), f, 10); string(text) != "base" {
				t.Errorf("%s: %s is %q, %v", name, f, text, err)
			}
		}
	}
	files["Dockerfile"] = "FROM oci-archive:" + file + "\n"
	if _, err := dockerfile.Build(t.Context(), b, dockerfile.Options{Context: dockerfile.Context{Stream: strings.NewReader(archive(t, files))}}); !errors.Is(err, builder.ErrImageNotFound) {
		t.Errorf("an archive of this machine: %v", err)
	}
}

// A base image that is missing and a registry that cannot be reached are told apart.
func TestMissingBase(t *testing.T) {
	nothing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
		}
	}))
	defer nothing.Close()
	const closed = "http://127.0.0.1:1" // a port that no test is given
	insecure := false
	b := openWith(t, builder.Options{Registry: builder.Registry{TLSVerify: &insecure}, Retries: -1})
	for _, test := range []struct {
		url       string
		want, not error
	}{{nothing.URL, builder.ErrImageNotFound, builder.ErrRegistry}, {closed, builder.ErrRegistry, builder.ErrImageNotFound}} {
		image := strings.TrimPrefix(test.url, "http://") + "/image"
		for _, text := range []string{"FROM " + image, "FROM scratch\nCOPY --from=" + image + " / /"} {
			_, err := dockerfile.Build(t.Context(), b, dockerfile.Options{File: dockerfile.File{Text: strings.NewReader(text)}})
			var at *dockerfile.Error
			if !errors.Is(err, test.want) || errors.Is(err, test.not) || !errors.As(err, &at) {
				t.Errorf("%s: got %v", text, err)
			}
		}
	}
}
