//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/storage/records"
)

// everything is a Dockerfile with each instruction that makes a layer, in all forms.
const everything = `# syntax=docker/dockerfile:1
FROM localhost/base AS made
ARG V=1
ENV E=${V}
RUN echo "$V $E" >/made
RUN ["/bin/sh", "-c", "echo exec >/exec"]
RUN <<end
echo first >/lines
echo second >>/lines
end
WORKDIR /work/dir
USER daemon
WORKDIR below
USER root
COPY --chown=daemon:daemon --chmod=0750 conf /work/conf
FROM localhost/base AS got
ADD %[1]s/f /got/
ADD %[1]s/r.git /got/r
ADD tree.tar /got/tree
RUN cat /got/f /got/r/g /got/tree/t >/all
FROM scratch AS empty
COPY conf /conf
FROM localhost/base
LABEL l=1
EXPOSE 80
VOLUME /v
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT ["/bin/sh"]
COPY --from=made /made /exec /lines /from/
COPY --from=made --parents /work/./dir /from/
COPY --link --from=got /all /linked/all
COPY --link conf /linked/
COPY --from=empty / /empty/
COPY --from=localhost/base /bin/busybox /copied
COPY --exclude=*.tar . /context/
COPY <<text <<more /here/
$V
text
another
more
RUN cat /from/lines >/last || true
RUN :
`

// serve serves a file and a repository.
func serve(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	repo := filepath.Join(root, "r")
	if err := os.Mkdir(repo, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repo, "g"), []byte("g\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"}, {"commit", "--quiet", "--message=x"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = repo
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	backend := &cgi.Handler{Path: "/usr/lib/git-core/git-http-backend", Env: []string{
		"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, rest, ok := strings.Cut(r.URL.Path, ".git/"); ok {
			r.URL.Path = name + "/.git/" + rest
			backend.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
		fmt.Fprintln(w, "f")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// listed lists the records that a store has.
func listed(t *testing.T, graph string) (all []records.Record, keys []string) {
	t.Helper()
	d, err := records.OpenDir(filepath.Join(graph, "oakum", "records"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for r, err := range d.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all, keys = append(all, r), append(keys, r.Key+" "+r.Content)
	}
	slices.Sort(keys)
	return all, slices.Compact(keys)
}

// putInto puts the records of one store in the place of those of another.
func putInto(t *testing.T, graph string, all []records.Record) {
	t.Helper()
	dir := filepath.Join(graph, "oakum", "records")
	d, err := records.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Keep(func(records.Record) bool { return false }); err != nil {
		t.Fatal(err)
	}
	for _, r := range slices.Backward(all) { // of a key, the newest last
		if err := d.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// keysContext makes the context that everything copies from.
func (h *testHome) keysContext(url string) string {
	h.t.Helper()
	dir := h.context("build", fmt.Sprintf(everything, url))
	h.write("build/conf", "conf\n")
	h.write("build/.dockerignore", "ignored\n")
	tree := h.write("tree/t", "t\n")
	h.run("tar", "--mtime=@0", "--owner=0", "--group=0", "-cf", filepath.Join(dir, "tree.tar"), "-C", filepath.Dir(tree), "t")
	return dir
}

var (
	stepLine = regexp.MustCompile(`(?m)^(#[0-9]+) (\[.*\] (?:RUN|COPY|ADD|WORKDIR) .*)$`)
	doneLine = regexp.MustCompile(`(?m)^(#[0-9]+) DONE`)
)

// uncached are the steps that a build has run, of what it has written.
func uncached(output string) (steps []string) {
	lines := map[string]string{}
	for _, step := range stepLine.FindAllStringSubmatch(output, -1) {
		lines[step[1]] = step[2]
	}
	for _, done := range doneLine.FindAllStringSubmatch(output, -1) {
		if step := lines[done[1]]; step != "" {
			steps = append(steps, step)
		}
	}
	return steps
}

// TestPortableKeys builds one Dockerfile in stores that have nothing in common but the
// digests of the base's layers: all keys of the layer cache are the same, of an ordinary user as
// of root, and what one store has recorded is found in another.
func TestPortableKeys(t *testing.T) {
	url := serve(t)
	one := newHome(t)
	base := one.context("base", "FROM busybox\nRUN mkdir /base\n")
	one.run(oakum, "build", "--timestamp", "1000000000", "-t", "localhost/base", base)
	_, ofBase := listed(t, one.graph)
	archive := filepath.Join(one.dir, "base.tar")
	one.run(oakum, "push", "localhost/base", "oci-archive:"+archive)
	build := func(h *testHome, args ...string) (id string, output string) {
		h.t.Helper()
		dir := h.keysContext(url)
		stdout, stderr, err := h.try(oakum, append(append([]string{"build"}, args...), "-t", "localhost/app", dir)...)
		if err != nil {
			t.Fatalf("building: %v\n%s%s", err, stdout, stderr)
		}
		return strings.TrimSpace(h.run(oakum, "inspect", "--format", "{{.ID}}", "localhost/app")), stdout + stderr
	}
	dated := []string{"--timestamp", "1000000000"}
	first, _ := build(one, dated...)
	all, keys := listed(t, one.graph)
	keys = slices.DeleteFunc(keys, func(k string) bool { return slices.Contains(ofBase, k) })

	// Another store, whose base has other ids: those that are made of its blobs.
	two := newHome(t)
	two.run(oakum, "tag", strings.TrimSpace(two.run(oakum, "pull", "oci-archive:"+archive)), "localhost/base")
	second, _ := build(two, dated...)
	if second != first {
		t.Errorf("image %s, then %s", first, second)
	}
	_, others := listed(t, two.graph)
	same(t, "another store", others, keys)
	putInto(t, two.graph, all)
	if id, output := build(two, dated...); id != first || len(uncached(output)) > 0 {
		t.Errorf("with the records of another store: image %s, %q ran\n%s", id, uncached(output), output)
	}

	// Layers that hold the times of their making are found where they are pulled.
	plain, _ := build(one)
	app := filepath.Join(one.dir, "app.tar")
	one.run(oakum, "push", "localhost/app", "oci-archive:"+app)
	all, _ = listed(t, one.graph)
	three := newHome(t)
	three.run(oakum, "tag", strings.TrimSpace(three.run(oakum, "pull", "oci-archive:"+archive)), "localhost/base")
	if _, output := build(three); len(uncached(output)) < 20 {
		t.Errorf("in an empty store only %q ran\n%s", uncached(output), output)
	}
	three.run(oakum, "rmi", "localhost/app")
	three.run(oakum, "pull", "oci-archive:"+app)
	putInto(t, three.graph, all)
	id, output := build(three)
	target := slices.DeleteFunc(uncached(output), func(line string) bool { return !strings.Contains(line, "[stage-") })
	if id != plain || len(target) > 0 {
		t.Errorf("where the image was pulled: image %s, want %s; %q ran\n%s", id, plain, target, output)
	}

	if os.Geteuid() == 0 {
		same(t, "an ordinary user", userKeys(t, one.keysContext(url), archive), keys)
	}
}

// same fails unless two stores have the same keys.
func same(t *testing.T, name string, got, want []string) {
	t.Helper()
	if len(want) < 20 {
		t.Errorf("only %d keys", len(want))
	}
	for _, k := range got {
		if !slices.Contains(want, k) {
			t.Errorf("%s has the key %s, which the first has not", name, k)
		}
	}
	for _, k := range want {
		if !slices.Contains(got, k) {
			t.Errorf("%s lacks the key %s", name, k)
		}
	}
}

// userKeys builds as the ordinary user that the tests have, and gives the keys.
func userKeys(t *testing.T, context, archive string) []string {
	t.Helper()
	name := os.Getenv("OAKUM_TEST_USER")
	if name == "" {
		name = "oakum-test"
	}
	script := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(checkout, "hack", args[0]), args[1:]...)
		cmd.Dir = "/"
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v\n%s%s", args, err, out, errs.String())
		}
		return string(out)
	}
	u, err := user.Lookup(name)
	if err != nil {
		script("testuser")
		u, err = user.Lookup(name)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(script("as-user", "mktemp", "-d", filepath.Join(u.HomeDir, "oakum-keys-XXXXXX")))
	t.Cleanup(func() { script("as-user", "unshare", "--map-auto", "--map-root-user", "rm", "-rf", dir) })
	for from, to := range map[string]string{oakum: "oakum", archive: "base.tar", context + "/.": "context"} {
		for _, args := range [][]string{{"cp", "-r", from, filepath.Join(dir, to)}, {"chown", "-R", name, filepath.Join(dir, to)}} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%q: %v\n%s", args, err, out)
			}
		}
	}
	run := func(command string, args ...string) string {
		t.Helper()
		return script(append([]string{"as-user", filepath.Join(dir, "oakum"), command, "--root", filepath.Join(dir, "graph"), "--runroot", filepath.Join(dir, "run")}, args...)...)
	}
	id := run("pull", "oci-archive:"+filepath.Join(dir, "base.tar"))
	run("tag", strings.TrimSpace(id), "localhost/base")
	run("build", "--timestamp", "1000000000", "-t", "localhost/app", filepath.Join(dir, "context"))
	_, keys := listed(t, filepath.Join(dir, "graph"))
	return keys
}
