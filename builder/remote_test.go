//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/gitref"
	"github.com/oakum-build/oakum/builder/usage"
)

// webServer serves files by path and counts the answers by status.
type webServer struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string]string
	times map[int]int
}

const modified = "Wed, 21 Oct 2015 07:28:00 GMT"

func web(t testing.TB, files map[string]string) *webServer {
	s := &webServer{files: files, times: map[int]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *webServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.files[r.URL.Path]
	tag := `"` + digest.FromString(content).Encoded()[:8] + `"`
	status := http.StatusOK
	switch {
	case !ok:
		status = http.StatusNotFound
	case r.Header.Get("If-None-Match") == tag:
		status = http.StatusNotModified
	}
	s.times[status]++
	w.Header().Set("ETag", tag)
	w.Header().Set("Last-Modified", modified)
	w.WriteHeader(status)
	if status == http.StatusOK {
		fmt.Fprint(w, content)
	}
}

// answers tells, and forgets, how often the server sent a file, and how often it said
// that the file is unchanged.
func (s *webServer) answers() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := fmt.Sprintf("%d sent, %d unchanged", s.times[http.StatusOK], s.times[http.StatusNotModified])
	clear(s.times)
	return out
}

func (s *webServer) set(path, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = content
}

func tarball(t testing.TB, zip bool, entries ...tar.Header) string {
	t.Helper()
	var buf bytes.Buffer
	var out io.Writer = &buf
	var gz *gzip.Writer
	if zip {
		gz = gzip.NewWriter(&buf)
		out = gz
	}
	tw := tar.NewWriter(out)
	for _, h := range entries {
		content := h.PAXRecords["content"]
		h.PAXRecords = nil
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		h.Size = int64(len(content))
		ok(t, tw.WriteHeader(&h))
		_, err := io.WriteString(tw, content)
		ok(t, err)
	}
	ok(t, tw.Close())
	if gz != nil {
		ok(t, gz.Close())
	}
	return buf.String()
}

func regular(name, content string) tar.Header {
	return tar.Header{Name: name, Uid: 33, Gid: 33, PAXRecords: map[string]string{"content": content}}
}

func TestAddURL(t *testing.T) {
	t.Parallel()
	archive := tarball(t, true, regular("in/f", "unpacked"))
	s := web(t, map[string]string{"/a/f.txt": "content", "/f.tgz": archive, "/[x]*": "odd", "/": "root"})
	b := open(t)
	st := base(t, b)
	ctx := t.Context()
	ok(t, errOf(st.Add(ctx, "/file", builder.URL(s.URL+"/a/f.txt"))))
	ok(t, errOf(st.Add(ctx, "/dir/", builder.URL(s.URL+"/a/f.txt?x=y#z"), builder.URL(s.URL+"/%5Bx%5D%2A"))))
	ok(t, errOf(st.Add(ctx, "/root/", builder.URL(s.URL))))
	ok(t, errOf(st.Add(ctx, "/packed/", builder.URL(s.URL+"/f.tgz"))))
	ok(t, errOf(st.Add(ctx, "/un/packed/", builder.URL(s.URL+"/f.tgz").Unpack())))
	ok(t, errOf(st.Copy(ctx, "/owned", builder.URL(s.URL+"/a/f.txt").Chown("app").Chmod("644").Checksum(digest.FromString("content").String()))))
	equal(t, sh(t, st, "cd /; stat -c '%n %a %u:%g %Y' file dir/* root/* packed/* un/packed/in/f owned; cat file owned un/packed/in/f"),
		`file 600 0:0 1445412480
dir/[x]* 600 0:0 1445412480
dir/f.txt 600 0:0 1445412480
root/__unnamed__ 600 0:0 1445412480
packed/f.tgz 600 0:0 1445412480
un/packed/in/f 644 33:33 0
owned 644 1000:1001 1445412480
contentcontentunpacked`)
}

func TestURLIsCached(t *testing.T) {
	t.Parallel()
	s := web(t, map[string]string{"/f": "one"})
	b := open(t)
	add := func(want bool, content string, opts builder.StageOptions, from func() builder.Source) {
		t.Helper()
		st := stage(t, b, builder.Scratch, opts)
		step, err := st.Add(t.Context(), "/f", from())
		ok(t, err)
		if step.Cached != want {
			t.Errorf("cached: %t", !want)
		}
		ok(t, errOf(st.Copy(t.Context(), "/", builder.Dir(baseDir))))
		equal(t, sh(t, st, "cat /f"), content)
	}
	plain := func() builder.Source { return builder.URL(s.URL + "/f") }
	add(false, "one", builder.StageOptions{}, plain)
	equal(t, s.answers(), "1 sent, 0 unchanged")
	add(true, "one", builder.StageOptions{}, plain)
	equal(t, s.answers(), "0 sent, 1 unchanged")
	// On another base, the file is copied but not downloaded.
	st := base(t, b)
	ok(t, errOf(st.Add(t.Context(), "/f", plain())))
	equal(t, s.answers(), "0 sent, 1 unchanged")
	// Its digest being known, the server need not be asked.
	add(true, "one", builder.StageOptions{}, func() builder.Source { return plain().Checksum(digest.FromString("one").String()) })
	equal(t, s.answers(), "0 sent, 0 unchanged")
	add(false, "one", builder.StageOptions{NoCache: true}, plain)
	equal(t, s.answers(), "1 sent, 0 unchanged")
	s.set("/f", "two")
	add(false, "two", builder.StageOptions{}, plain)
	equal(t, s.answers(), "1 sent, 0 unchanged")
	s.set("/f", "one")
	add(true, "one", builder.StageOptions{}, plain)
	is(t, errOf(st.Add(t.Context(), "/f", plain().Checksum(digest.FromString("three").String()))), builder.ErrFetch)
	s.Close()
	is(t, errOf(st.Add(t.Context(), "/f", plain())), builder.ErrFetch)
	add(true, "one", builder.StageOptions{}, func() builder.Source { return plain().Checksum(digest.FromString("one").String()) })
}

// The layer of a downloaded file goes when the store is pruned, while what was copied of it stays in an image. Where
// the checksum names the file, the server is not asked for it, but for a step that has to be done.
func TestURLIsRemembered(t *testing.T) {
	t.Parallel()
	s := web(t, map[string]string{"/f": "one"})
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	plain := builder.URL(s.URL + "/f")
	summed := plain.Checksum(digest.FromString("one").String())
	add := func(cached bool, answers string, opts builder.StageOptions, from builder.Source) *builder.Stage {
		t.Helper()
		st := stage(t, b, builder.Scratch, opts)
		step, err := st.Add(t.Context(), "/d/g", from) // not the path of the URL, which would make the same layer
		ok(t, err)
		if step.Cached != cached {
			t.Errorf("cached: %t", step.Cached)
		}
		equal(t, s.answers(), answers)
		return st
	}
	_, err := add(false, "1 sent, 0 unchanged", builder.StageOptions{}, summed).Commit(t.Context(), "localhost/kept", builder.CommitOptions{})
	ok(t, err)
	for range 2 {
		ok(t, b.Close())
		b = openIn(t, builder.Options{Root: root})
		_, err = b.Prune(t.Context(), usage.Options{})
		ok(t, err)
		add(true, "0 sent, 0 unchanged", builder.StageOptions{}, summed)
	}
	// Another checksum is another file, of which nothing is known.
	is(t, errOf(scratch(t, b).Add(t.Context(), "/d/g", plain.Checksum(digest.FromString("three").String()))), builder.ErrFetch)
	equal(t, s.answers(), "1 sent, 0 unchanged")
	// A step that is not found has to have the file, which is in the store from then on.
	on := base(t, b)
	ok(t, errOf(on.Add(t.Context(), "/d/g", summed)))
	equal(t, s.answers(), "1 sent, 0 unchanged")
	equal(t, sh(t, on, "cat /d/g"), "one")
	add(true, "0 sent, 0 unchanged", builder.StageOptions{}, summed)
	add(false, "1 sent, 0 unchanged", builder.StageOptions{NoCache: true}, summed)
	// Without a checksum only the server knows.
	add(true, "0 sent, 1 unchanged", builder.StageOptions{}, plain)
}

// A server that knows only times goes back to an older file, of the same length.
func TestURLGoesBack(t *testing.T) {
	t.Parallel()
	at, content := time.Unix(0, 0), ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", at, strings.NewReader(content))
	}))
	defer s.Close()
	b := open(t)
	for _, step := range []struct {
		content string
		at      int64
		cached  bool
	}{{"new", 1e9, false}, {"new", 1e9, true}, {"old", 1e9 - 7, false}, {"new", 1e9, true}, {"new", 1e9 + 7, false}, {"new", 1e9 + 7, true}} {
		at, content = time.Unix(step.at, 0), step.content
		st := scratch(t, b)
		did, err := st.Add(t.Context(), "/f", builder.URL(s.URL+"/f"))
		ok(t, err)
		if did.Cached != step.cached {
			t.Errorf("%+v: cached: %t", step, !step.cached)
		}
		f := entryOf(t, lastLayer(t, b, st), "f")
		if f.content != step.content || f.ModTime.Unix() != step.at {
			t.Errorf("%+v: got %q of %d", step, f.content, f.ModTime.Unix())
		}
	}
}

func TestURLErrors(t *testing.T) {
	t.Parallel()
	s := web(t, map[string]string{"/f": "one"})
	b := open(t)
	st := base(t, b)
	for url, kind := range map[string]error{
		s.URL + "/none": builder.ErrFetch, "http://127.0.0.1:1/f": builder.ErrFetch, "file:///etc/passwd": builder.ErrInvalid, "http://x/..": builder.ErrInvalid, "x": builder.ErrInvalid,
		"https://" + strings.TrimPrefix(s.URL, "http://") + "/f": builder.ErrFetch,
	} {
		is(t, errOf(st.Add(t.Context(), "/f", builder.URL(url))), kind)
	}
	is(t, errOf(st.Add(t.Context(), "/f", builder.URL(s.URL+"/f").Checksum("sha256:x"))), builder.ErrInvalid)
	is(t, errOf(st.Add(t.Context(), "/f", builder.URL(s.URL+"/f").Checksum("md5:d41d8cd98f00b204e9800998ecf8427e"))), builder.ErrInvalid)
	equal(t, sh(t, st, "ls /f 2>&1; true"), "ls: /f: No such file or directory\n")
}

// Proxies are those of the environment.
func TestURLThroughProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "proxied "+r.RequestURI) }))
	defer proxy.Close()
	t.Setenv("http_proxy", proxy.URL)
	b := open(t)
	st := base(t, b)
	ok(t, errOf(st.Add(t.Context(), "/f", builder.URL("http://example.invalid/f"))))
	equal(t, sh(t, st, "cat /f"), "proxied http://example.invalid/f")
}

// Credentials of a URL are in no layer, history, configuration or file of the store.
func TestRemoteCredentialsAreNotKept(t *testing.T) {
	t.Parallel()
	s := web(t, map[string]string{"/f": "one"})
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	st := base(t, b)
	ok(t, errOf(st.Add(t.Context(), "/f", builder.URL(strings.Replace(s.URL, "//", "//user:S3CRET@", 1)+"/f"))))
	git, _ := gitServer(t)
	ok(t, errOf(st.Add(t.Context(), "/git", builder.Git(strings.Replace(git, "//", "//user:S3CRET@", 1)).KeepGitDir(true))))
	img, err := st.Commit(t.Context(), "x", builder.CommitOptions{})
	ok(t, err)
	d, err := b.Inspect(t.Context(), img.ID)
	ok(t, err)
	if h := history(d); strings.Contains(h, "S3CRET") || !strings.Contains(h, "user:xxxxx@") {
		t.Errorf("history: %s", h)
	}
	ok(t, b.Close())
	grep := exec.Command("grep", "-r", "-l", "S3CRET", root)
	if os.Geteuid() != 0 {
		grep = exec.Command("unshare", "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0", "grep", "-r", "-l", "S3CRET", root)
	}
	if out, err := grep.CombinedOutput(); len(out) > 0 {
		t.Errorf("found in %s (%v)", out, err)
	}
}

// gitServer serves a repository with two commits; it gives the URL and the first's id.
func gitServer(t testing.TB) (url, first string) {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "--quiet", "--initial-branch=main", "r.git")
	dir = filepath.Join(dir, "r.git")
	for i, content := range []string{"one", "two"} {
		ok(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
		ok(t, os.WriteFile(filepath.Join(dir, "sub/f"), []byte(content), 0o755))
		ok(t, os.WriteFile(filepath.Join(dir, "a.tar"), []byte(tarball(t, false, regular("x", "x"))), 0o600))
		git("add", "--all")
		git("commit", "--quiet", "--message=x")
		if i == 0 {
			first = git("rev-parse", "HEAD")
		}
	}
	backend := &cgi.Handler{Path: "/usr/lib/git-core/git-http-backend", Env: []string{
		"GIT_PROJECT_ROOT=" + filepath.Dir(dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}, Stderr: io.Discard}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.Replace(r.URL.Path, "/r.git/", "/r.git/.git/", 1)
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/r.git", first
}

func TestAddGit(t *testing.T) {
	t.Parallel()
	url, first := gitServer(t)
	b := open(t)
	st := base(t, b)
	ctx := t.Context()
	ok(t, errOf(st.Add(ctx, "/head", builder.Git(url))))
	ok(t, errOf(st.Add(ctx, "/old", builder.Git(url+"#"+first+":sub").Chown("app").Chmod("600"))))
	ok(t, errOf(st.Add(ctx, "/kept", builder.Git(url).KeepGitDir(true).Checksum(""))))
	equal(t, find(t, st, "/head")+find(t, st, "/old")+sh(t, st, "cat head/sub/f old/f; ls kept/.git/HEAD"),
		"f 644 0:0 a.tar\nd 755 0:0 sub\nf 755 0:0 sub/f\nf 600 1000:1001 f\ntwoonekept/.git/HEAD\n")
	ok(t, errOf(st.Add(ctx, "/sum", builder.Git(url+"#"+first).Checksum(first[:12]))))
	is(t, errOf(st.Add(ctx, "/x", builder.Git(url).Checksum(first))), builder.ErrFetch)
	is(t, errOf(st.Add(ctx, "/x", builder.Git(url+"#none"))), builder.ErrFetch)
	is(t, errOf(st.Add(ctx, "/x", builder.Git(url+"#--upload-pack=x"))), builder.ErrInvalid)
	is(t, errOf(st.Add(ctx, "/x", builder.Git(url+"?keep-git-dir").KeepGitDir(false))), builder.ErrInvalid)
	is(t, errOf(st.Add(ctx, "/x", builder.Git(url+"?commit="+first).Checksum("abcdef0"))), builder.ErrInvalid)
	// A commit is fetched once, on whatever it goes.
	other := scratch(t, b)
	start := time.Now()
	ok(t, errOf(other.Add(ctx, "/old", builder.Git(url+"#"+first+":sub"))))
	t.Logf("from the store in %v", time.Since(start))
	is2 := func(text string, git bool, kind error) {
		t.Helper()
		got, err := gitref.Is(text)
		if got != git || !errors.Is(err, kind) {
			t.Errorf("Is(%q) = %t, %v", text, got, err)
		}
	}
	is2(url, true, nil)
	is2(url+"?x=y", true, builder.ErrInvalid)
	is2("http://x/f", false, nil)
}

func TestTar(t *testing.T) {
	t.Parallel()
	b := open(t)
	st := base(t, b)
	ctx := t.Context()
	entries := []tar.Header{regular("a/f", "f"), {Name: "a/l", Typeflag: tar.TypeSymlink, Linkname: "/f"}, regular("b", "b")}
	ok(t, errOf(st.Copy(ctx, "/t", builder.Tar(strings.NewReader(tarball(t, false, entries...))))))
	ok(t, errOf(st.Copy(ctx, "/z", builder.Tar(strings.NewReader(tarball(t, true, entries...))).Select("a").Chown("33"))))
	equal(t, find(t, st, "/t")+find(t, st, "/z"), "d 755 0:0 a\nf 644 0:0 a/f\nl 777 0:0 a/l\nf 644 0:0 b\nf 644 33:33 f\nl 777 33:33 l\n")
	whole := tarball(t, false, regular("a", strings.Repeat("x", 5000)), regular("b", "b"))
	for name, bad := range map[string]io.Reader{
		"no archive":    strings.NewReader("FROM scratch\n" + strings.Repeat("x", 2000)),
		"within a file": strings.NewReader(whole[:3000]),
		"broken gzip":   strings.NewReader(tarball(t, true, entries...)[:60]),
		"broken reader": io.MultiReader(strings.NewReader(whole[:512+5120]), brokenReader{}),
	} {
		if _, err := st.Copy(ctx, "/x", builder.Tar(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, err := st.Copy(ctx, "/x", builder.Tar(io.MultiReader(strings.NewReader(whole[:512+5120]), brokenReader{})))
	is(t, err, errBroken)
	// A reader that never ends does not keep the call.
	endless, w := io.Pipe()
	go func() { _, _ = w.Write([]byte(whole[:2000])) }()
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	is(t, errOf(st.Copy(short, "/x", builder.Tar(endless))), context.DeadlineExceeded)
	w.Close()
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

// Links in an archive lead nowhere outside it.
func TestHostileTar(t *testing.T) {
	t.Parallel()
	victim := tree(t, map[string]string{"marker": "secret"})
	b := open(t)
	for name, entries := range map[string][]tar.Header{
		"dots":             {regular("../../../../../../../.."+victim+"/new", "x"), regular("a/../../x", "x")},
		"through a link":   {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: victim}, regular("l/new", "x")},
		"relative link":    {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../../../../../../../../" + victim}, regular("l/marker", "x")},
		"over a link":      {{Name: "Dockerfile", Typeflag: tar.TypeSymlink, Linkname: victim + "/marker"}, regular("Dockerfile", "x")},
		"hard link":        {{Name: "h", Typeflag: tar.TypeLink, Linkname: victim + "/marker"}},
		"whiteout of dots": {regular(".wh...", "")},
	} {
		st := base(t, b)
		_, err := st.Copy(t.Context(), "/x/", builder.Tar(strings.NewReader(tarball(t, false, entries...))))
		if err == nil {
			if out := sh(t, st, "cat /x/h /x/l/marker 2>/dev/null; true"); strings.Contains(out, "secret") {
				t.Errorf("%s: read %q", name, out)
			}
		}
		entriesOf, err := os.ReadDir(victim)
		ok(t, err)
		data, err := os.ReadFile(filepath.Join(victim, "marker"))
		ok(t, err)
		if len(entriesOf) != 1 || string(data) != "secret" {
			t.Errorf("%s: the victim is %v with %q", name, entriesOf, data)
		}
	}
}

// A scratch directory goes with its Builder, or with the next one after a crash.
func TestScratchIsSwept(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	st := base(t, b)
	ok(t, errOf(st.Copy(t.Context(), "/t", builder.Tar(strings.NewReader(tarball(t, false, regular("f", "f")))))))
	scratch := filepath.Join(root, "overlay/tempdirs/oakum")
	left := func() string {
		entries, err := os.ReadDir(scratch)
		ok(t, err)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	if used := strings.Fields(left()); len(used) != 2 {
		t.Errorf("in use: %q", used)
	}
	ok(t, b.Close())
	equal(t, left(), "")
	for _, name := range []string{"dead", "alive"} {
		ok(t, os.MkdirAll(filepath.Join(scratch, name, "1/d"), 0o700))
		ok(t, os.WriteFile(filepath.Join(scratch, name+".lock"), nil, 0o600))
	}
	lock, err := os.Open(filepath.Join(scratch, "alive.lock"))
	ok(t, err)
	defer lock.Close()
	ok(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	openIn(t, builder.Options{Root: root})
	equal(t, left(), "alive alive.lock")
}

func TestLatestTime(t *testing.T) {
	t.Parallel()
	b := open(t)
	st := stage(t, b, builder.Scratch, builder.StageOptions{})
	if at, err := st.LatestTime(t.Context()); err != nil || !at.IsZero() {
		t.Errorf("of nothing: %v, %v", at, err)
	}
	archive := tarball(t, false, tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(900, 0)},
		tar.Header{Name: "d/old", ModTime: time.Unix(300, 0)}, tar.Header{Name: "d/new", ModTime: time.Unix(500, 0)},
		tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", ModTime: time.Unix(800, 0)})
	ok(t, errOf(st.Add(t.Context(), "/", builder.Tar(strings.NewReader(archive)))))
	if at, err := st.LatestTime(t.Context()); err != nil || at.Unix() != 500 {
		t.Errorf("got %v, %v", at, err)
	}
}
