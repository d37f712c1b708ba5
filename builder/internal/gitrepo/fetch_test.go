//go:build linux

package gitrepo

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// repos is a directory of repositories, served in every way that git knows.
type repos struct {
	t   *testing.T
	dir string
}

func newRepos(t *testing.T) *repos { return &repos{t, t.TempDir()} }

// git runs git as a user of these tests would.
func (r *repos) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = filepath.Join(r.dir, dir)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@b", "GIT_COMMITTER_DATE=2020-01-02T03:04:05Z", "GIT_AUTHOR_DATE=2020-01-02T03:04:05Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit makes a commit of files in a repository, which it creates: name to content, "-> "
// for a link. It gives the commit's id.
func (r *repos) commit(repo string, files map[string]string) string {
	r.t.Helper()
	dir := filepath.Join(r.dir, repo)
	if _, err := os.Stat(dir); err != nil {
		r.git("", "init", "--quiet", "--initial-branch=main", repo)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		os.Remove(path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = errors.Join(err, os.Symlink(target, path))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(content), 0o755))
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.git(repo, "add", "--all")
	r.git(repo, "commit", "--quiet", "--message=x")
	r.git(repo, "update-server-info")
	return r.git(repo, "rev-parse", "HEAD")
}

// serve gives the URL of a server of the repositories, by git's own program.
func (r *repos) serve(wrap func(http.Handler) http.Handler) string {
	backend := &cgi.Handler{Path: "/usr/lib/git-core/git-http-backend", Env: []string{"GIT_PROJECT_ROOT=" + r.dir, "GIT_HTTP_EXPORT_ALL=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// A working repository is served by its .git directory.
		if name, rest, ok := strings.Cut(req.URL.Path[1:], ".git/"); ok {
			req.URL.Path = "/" + name + "/.git/" + rest
		}
		backend.ServeHTTP(w, req)
	})
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	r.t.Cleanup(s.Close)
	return s.URL
}

// checkout fetches a reference and lists what came: names with contents or targets.
func checkout(t *testing.T, text string, keep bool) (map[string]string, error) {
	t.Helper()
	ref, err := Parse(text)
	if err != nil {
		return nil, err
	}
	found, err := ref.Resolve(t.Context())
	if err != nil {
		return nil, err
	}
	dir := t.TempDir()
	if err := ref.Checkout(t.Context(), found, keep, t.TempDir(), dir); err != nil {
		return nil, err
	}
	return list(t, dir), nil
}

func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if name == ".git" {
			files[name] = "kept"
			return fs.SkipDir
		}
		switch d.Type() {
		case 0:
			data, err := os.ReadFile(path)
			files[name] = string(data)
			return err
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			files[name] = "-> " + target
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func text(files map[string]string) string {
	var lines []string
	for name, content := range files {
		lines = append(lines, name+"="+content)
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

func want(t *testing.T, ref, wanted string) {
	t.Helper()
	files, err := checkout(t, ref, false)
	if err != nil {
		t.Errorf("%s: %v", ref, err)
	} else if got := text(files); got != wanted {
		t.Errorf("%s: got %s, want %s", ref, got, wanted)
	}
}

func TestCheckout(t *testing.T) {
	r := newRepos(t)
	first := r.commit("r", map[string]string{"f": "1", "d/e/g": "g", "link": "-> f"})
	r.git("r", "tag", "light")
	r.git("r", "tag", "--annotate", "--message=x", "heavy")
	r.git("r", "update-ref", "refs/pull/1/head", first)
	r.commit("r", map[string]string{"f": "2"})
	r.git("r", "branch", "a/b")
	r.git("r", "branch", "both", first)
	r.git("r", "tag", "both")
	last := r.commit("r", map[string]string{"f": "3"})
	url := r.serve(nil) + "/r.git"
	old, middle, head := "d/e/g=g f=1 link=-> f", "d/e/g=g f=2 link=-> f", "d/e/g=g f=3 link=-> f"
	for ref, wanted := range map[string]string{
		"": head, "#main": head, "#" + last: head, "#" + first: old, "#light": old, "#heavy": old, "#refs/tags/heavy": old, "#refs/pull/1/head": old, "#pull/1/head": old,
		"#a/b": middle, "#both": old, "?tag=both": middle, "?branch=both": old, "#main:d": "e/g=g", "#:d/e": "g=g", "?subdir=d/e": "g=g",
		"?commit=" + first[:10] + "#light": old, "?fetch-by-commit&checksum=" + first: old, "#main:": head, "#main:../../d": "e/g=g", "#main:d/../../d": "e/g=g",
	} {
		want(t, url+ref, wanted)
	}
	for ref, why := range map[string]string{
		"#none": `no branch, tag or commit "none"`, "#" + first[:10]: "must be given whole", "?commit=abcdef0": "the commit is " + last,
		"#main:none": "none is not a directory", "#main:f": "f is not a directory", "#main:d/none/x": "not a directory",
		"#" + strings.Repeat("0", 40): "git fetch", "x#main": "git ls-remote",
	} {
		_, err := checkout(t, url+ref, false)
		var failed *Error
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, want %q", ref, err, why)
		}
	}
}

func TestCheckoutKeepsGitDir(t *testing.T) {
	r := newRepos(t)
	commit := r.commit("r", map[string]string{"f": "1"})
	r.git("r", "tag", "v1")
	url := r.serve(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if _, password, _ := req.BasicAuth(); password != "TOK" {
				w.Header().Set("WWW-Authenticate", "Basic")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, req)
		})
	})
	if _, err := checkout(t, url+"/r.git", false); err == nil || !strings.Contains(err.Error(), "could not read Username") && !strings.Contains(err.Error(), "Authentication failed") {
		t.Errorf("without credentials: %v", err)
	}
	ref, err := Parse(strings.Replace(url, "//", "//user:TOK@", 1) + "/r.git#v1")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := ref.Checkout(t.Context(), Found{commit, "refs/tags/v1"}, true, t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	if got := text(list(t, dir)); got != ".git=kept f=1" {
		t.Errorf("got %s", got)
	}
	r.dir = dir
	if got := r.git("", "describe", "--tags") + " " + r.git("", "rev-parse", "HEAD") + r.git("", "status", "--short"); got != "v1 "+commit {
		t.Errorf("got %s", got)
	}
	if out, err := exec.Command("grep", "-r", "TOK", dir).CombinedOutput(); err == nil {
		t.Errorf("the credentials are in %s", out)
	}
}

func TestCheckoutSubmodules(t *testing.T) {
	r := newRepos(t)
	r.commit("inner", map[string]string{"i": "i"})
	r.commit("sub", map[string]string{"s": "s"})
	url := r.serve(nil)
	r.git("sub", "submodule", "add", "--quiet", url+"/inner.git", "in")
	r.commit("sub", nil)
	r.commit("r", map[string]string{"f": "1"})
	r.git("r", "submodule", "add", "--quiet", url+"/sub.git", "m")
	r.git("r", "config", "--file=.gitmodules", "submodule.m.url", "../sub.git") // relative to the remote
	r.commit("r", nil)
	files, err := checkout(t, url+"/r.git", false)
	if err != nil {
		t.Fatal(err)
	}
	delete(files, ".gitmodules")
	delete(files, "m/.gitmodules")
	if got := text(files); got != "f=1 m/in/i=i m/s=s" {
		t.Errorf("got %s", got)
	}
	want(t, url+"/r.git?submodules=false#:m", "")
	// A server of plain files cannot give a commit alone.
	dumb := httptest.NewServer(http.StripPrefix("/sub.git", http.FileServer(http.Dir(filepath.Join(r.dir, "sub/.git")))))
	defer dumb.Close()
	r.git("sub", "rm", "--quiet", "in")
	r.commit("sub", nil)
	r.git("sub", "update-server-info")
	r.commit("p", map[string]string{"f": "1"})
	r.git("p", "submodule", "add", "--quiet", dumb.URL+"/sub.git", "m")
	r.commit("p", nil)
	want(t, url+"/p.git?submodules=true#:m", ".gitmodules= s=s")
	// A submodule on this machine's disk stays there.
	r.git("r", "config", "--file=.gitmodules", "submodule.m.url", r.dir+"/sub")
	r.commit("r", nil)
	if _, err := checkout(t, url+"/r.git", false); err == nil || !strings.Contains(err.Error(), "transport 'file' not allowed") {
		t.Errorf("a local submodule: got %v", err)
	}
}

// Links in the path of a directory, and files of a repository that git acts upon, lead
// nowhere.
func TestHostileRepositories(t *testing.T) {
	r := newRepos(t)
	victim := t.TempDir()
	if err := os.WriteFile(filepath.Join(victim, "marker"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	mark := "#!/bin/sh\ntouch " + victim + "/ran\n"
	r.commit("r", map[string]string{
		"proj": "-> /", "up": "-> ../../../..", "d/self": "-> .", "sibling": "-> d", "inner/sibling": "-> ../deep/er", "deep/er/f": "f", "run": mark,
		".gitattributes": "* filter=evil diff=evil\n", "d/f": "f",
	})
	r.git("r", "config", "filter.evil.smudge", r.dir+"/r/run")
	r.git("r", "config", "core.fsmonitor", r.dir+"/r/run")
	if err := os.WriteFile(filepath.Join(r.dir, "r/.git/hooks/post-checkout"), []byte(mark), 0o755); err != nil {
		t.Fatal(err)
	}
	url := r.serve(nil) + "/r.git"
	for _, subdir := range []string{"proj" + victim, "proj", "up", "up" + victim, "d/self", "d/self/f", "sibling", "inner/sibling"} {
		if files, err := checkout(t, url+"#main:"+subdir, false); err == nil {
			t.Errorf("%s: got %s", subdir, text(files))
		}
	}
	want(t, url+"#main:d", "f=f self=-> .")
	// The server's HEAD may have any name.
	r.git("r", "update-ref", "refs/heads/--upload-pack=touch", "HEAD^{commit}")
	if err := os.WriteFile(filepath.Join(r.dir, "r/.git/HEAD"), []byte("ref: refs/heads/--upload-pack=touch\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, url+"#:d", "f=f self=-> .")
	if got := text(list(t, victim)); got != "marker=secret" {
		t.Errorf("on this machine is now %s", got)
	}
}

// A repository is reached over plain files of a web server, git's own protocol and ssh.
func TestTransports(t *testing.T) {
	r := newRepos(t)
	commit := r.commit("r", map[string]string{"f": "1"})
	r.git("r", "gc", "--quiet")
	r.commit("r", map[string]string{"f": "2"})
	dumb := httptest.NewServer(http.StripPrefix("/r.git", http.FileServer(http.Dir(filepath.Join(r.dir, "r/.git")))))
	defer dumb.Close()
	want(t, dumb.URL+"/r.git", "f=2")
	want(t, dumb.URL+"/r.git#"+commit, "f=1")
	want(t, r.daemon()+"/r", "f=2")
	r.fakeSSH()
	want(t, "git@example.com:"+r.dir+"/r", "f=2")
	want(t, "ssh://git@example.com:22"+r.dir+"/r", "f=2")
	log, err := os.ReadFile(filepath.Join(r.dir, "ssh.log"))
	if err != nil || strings.Contains(string(log), "BatchMode=yes") == false || !strings.Contains(string(log), "git@example.com git-upload-pack '"+r.dir+"/r'") {
		t.Errorf("ssh was called so: %s (%v)", log, err)
	}
}

// daemon gives the URL of a git daemon, of which each connection has one of its own: a port that is only chosen for it
// may be another's by then.
func (r *repos) daemon() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var serving sync.WaitGroup
	r.t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.answer(conn.(*net.TCPConn)) })
		}
	})
	return "git://" + l.Addr().String()
}

func (r *repos) answer(conn *net.TCPConn) {
	file, err := conn.File()
	conn.Close()
	if err != nil {
		r.t.Error(err)
		return
	}
	defer file.Close()
	cmd := exec.CommandContext(r.t.Context(), "git", "-c", "safe.directory=*", "daemon", "--inetd", "--export-all", "--base-path="+r.dir, r.dir)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
	cmd.Stdin, cmd.Stdout = file, file
	_ = cmd.Run() // it fails as the client does
}

// fakeSSH puts a program called ssh first in PATH, which runs the command here.
func (r *repos) fakeSSH() {
	bin := filepath.Join(r.dir, "bin")
	script := "#!/bin/sh\necho \"$@\" >>" + r.dir + "/ssh.log\nfor last; do :; done\nexec sh -c \"$last\"\n"
	if err := errors.Join(os.Mkdir(bin, 0o755), os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o755)); err != nil {
		r.t.Fatal(err)
	}
	r.t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func TestCommitTime(t *testing.T) {
	r := newRepos(t)
	r.commit("r", map[string]string{"d/f": "1"})
	ref, err := Parse(r.serve(nil) + "/r.git?mtime=commit")
	if err != nil {
		t.Fatal(err)
	}
	found, err := ref.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := ref.Checkout(t.Context(), found, false, t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "d/f"))
	if err != nil || info.ModTime().UTC().Format(time.RFC3339) != "2020-01-02T03:04:05Z" {
		t.Errorf("got %v, %v", info, err)
	}
}

// A server that never answers ends with the context, and no process is left.
func TestCancel(t *testing.T) {
	block := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-block:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(block)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	ref, err := Parse(s.URL + "/r.git")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ref.Resolve(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	out, err := exec.Command("pgrep", "-f", "git-remote-http.*"+strings.TrimPrefix(s.URL, "http://")).Output()
	if err == nil {
		t.Errorf("left running: %s", out)
	}
}
