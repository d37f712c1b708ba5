//go:build linux

package input

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/retry"
)

// usernsEnv is set where an ordinary user's tests run as root of a user namespace, for nothing
// else may open a store.
const usernsEnv = "OAKUM_TEST_USERNS"

func TestMain(m *testing.M) {
	if storage.Helper(os.Exit) {
		return
	}
	syscall.Umask(0o022) // as the worker has it
	if os.Geteuid() == 0 {
		os.Exit(m.Run())
	}
	unshare, err := exec.LookPath("unshare")
	if err == nil {
		args := append([]string{unshare, "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0", "--mount", "--"}, os.Args...)
		env := append(os.Environ(), usernsEnv+"=1", "_CONTAINERS_USERNS_CONFIGURED=done",
			fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", os.Geteuid()), fmt.Sprintf("_CONTAINERS_ROOTLESS_GID=%d", os.Getegid()))
		err = syscall.Exec(unshare, args, env)
	}
	fmt.Fprintln(os.Stderr, "entering a user namespace:", err)
	os.Exit(1)
}

// world is what inputs are found in: a store, with layers that have none below.
type world struct {
	t       *testing.T
	env     Env
	steps   *step.Engine // for what was read before
	stages  map[string]*stage
	fetched map[string]*storage.Layer
	views   int // that were opened
	open    int // that are
	warned  []string
}

type stage struct {
	layer *storage.Layer
	use   *storage.Use
}

func (s *stage) Top() *storage.Layer { return s.layer }

func (s *stage) Claim(context.Context) (*storage.Layer, error) { return s.layer, s.use.Claim() }

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := storage.Open(storage.Options{Root: t.TempDir(), Rootless: os.Getenv(usernsEnv) != ""})
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	w := &world{t: t, steps: step.New(store, nil, store.Records(), func(err error) { t.Error(err) }), stages: map[string]*stage{}, fetched: map[string]*storage.Layer{}}
	warn := func(text string) { w.warned = append(w.warned, text) }
	w.env = Env{Store: store, Layers: w, Memory: t.TempDir(), Call: Call{Retry: retry.Policy{Times: -1}, Warn: warn, WarnOnce: warn}}
	return w
}

// stage makes a stage of one layer.
func (w *world) stage(id string, fill func(dir string)) *storage.Layer {
	w.t.Helper()
	l, err := w.env.Store.MakeLayer(w.t.Context(), nil, func(s storage.Staging) error { fill(s.Upper); return nil })
	ok(w.t, err)
	ok(w.t, l.Wait(w.t.Context()))
	use := w.env.Store.Use(l)
	w.t.Cleanup(use.Close)
	w.stages[id] = &stage{l, use}
	return l
}

func (w *world) Stage(id string) (Stage, error) {
	if s := w.stages[id]; s != nil {
		return s, nil
	}
	return nil, invalid("no stage %q", id)
}

func (w *world) Image(_ context.Context, image Image) (*storage.Layer, error) {
	return w.stages[image.Ref].layer, nil
}

func (w *world) Fetch(ctx context.Context, f Fetch) (*storage.Layer, error) {
	key := fmt.Sprint(f.Key)
	if l := w.fetched[key]; l != nil {
		return l, nil
	}
	l, err := w.env.Store.MakeLayer(ctx, nil, func(s storage.Staging) error {
		root, err := os.Open(s.Upper)
		if err != nil {
			return err
		}
		defer root.Close()
		_, err = f.Make(ctx, func(string) bool { return false }, place{root, s})
		return err
	})
	if err != nil {
		return nil, err
	}
	w.fetched[key] = l
	return l, l.Wait(ctx)
}

func (w *world) Remembered(context.Context, Fetch) *storage.Layer { return nil }

type place struct {
	root    *os.File
	staging storage.Staging
}

func (p place) Root() *os.File { return p.root }

func (p place) Owners() *owners.Owners { return nil }

func (p place) Path() string { return p.staging.Upper }

func (p place) Temp() (string, error) { return p.staging.Work, nil }
func (p place) Ahead() filecopy.Ahead { return nil }

// view is the directory of a layer without others below.
type view struct {
	*os.File
	w     *world
	layer *storage.Layer
}

func (w *world) View(l *storage.Layer) (workspace.View, error) {
	dirs, err := l.Lowers()
	if err != nil {
		return nil, err
	}
	w.views, w.open = w.views+1, w.open+1
	return view{dirs[0], w, l}, nil
}

func (v view) Root() *os.File { return v.File }

func (v view) Owners() *owners.Owners { return nil }

func (v view) Intact() error { return v.w.env.Store.Intact(v.layer) }

func (v view) Close() error {
	v.w.open--
	return errors.Join(v.File.Close(), v.Intact())
}

func (w *world) Known(l *storage.Layer, what step.ReadKey) string {
	return w.steps.Content(l, what, nil)
}

func (w *world) Learn(l *storage.Layer, what step.ReadKey, digest string) {
	w.steps.Remember(l, what, digest, nil)
	w.steps.Wait()
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill writes the files of which every input of a tree is made.
func fill(t testing.TB) func(dir string) {
	return func(dir string) {
		ok(t, os.MkdirAll(filepath.Join(dir, "d"), 0o755))
		ok(t, os.WriteFile(filepath.Join(dir, "d/f"), []byte("text"), 0o644))
		ok(t, os.WriteFile(filepath.Join(dir, "left"), []byte("out"), 0o600))
		ok(t, os.Symlink("/d/f", filepath.Join(dir, "link")))
	}
}

// tarOf is a stream of them.
func tarOf(t testing.TB) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	ok(t, err)
	t.Cleanup(func() { r.Close() })
	go func() {
		defer w.Close()
		tw := tar.NewWriter(w)
		for _, h := range []tar.Header{
			{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o644, Size: 4},
			{Name: "left", Typeflag: tar.TypeReg, Mode: 0o600, Size: 3}, {Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/d/f"},
		} {
			_ = tw.WriteHeader(&h)
			_, _ = io.WriteString(tw, map[string]string{"d/f": "text", "left": "out"}[h.Name])
		}
		_ = tw.Close()
	}()
	return r
}

// What holds of all inputs, whatever their files are in.
func TestContract(t *testing.T) {
	server := httptest.NewServer(http.FileServer(http.Dir(func() string { dir := t.TempDir(); fill(t)(dir); return dir }())))
	defer server.Close()
	dir := t.TempDir()
	fill(t)(dir)
	ok(t, os.Chmod(dir, 0o700)) // which nothing depends on
	for name, test := range map[string]struct {
		source Source
		group  string // of those with the same files
		timed  bool
		layer  bool // it is known what is read before anything is opened
	}{
		"dir":            {Source{Dir: dir}, "tree", false, false},
		"stream":         {Source{Stream: &Stream{File: 1}}, "tree", false, false},
		"foreign stream": {Source{Stream: &Stream{File: 1, Foreign: true}}, "timed", true, false},
		"stage":          {Source{Stage: "s", Rooted: true}, "tree", false, true},
		"image":          {Source{Image: &Image{Ref: "s"}, Rooted: true}, "tree", false, true},
		"owned stage":    {Source{Stage: "s"}, "owned", false, true},
		"URL":            {Source{URL: &URL{URL: server.URL + "/d/f"}}, "file", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.stage("s", fill(t))
			w.env.Call.Files = []*os.File{tarOf(t)}
			src := test.source
			if src.URL == nil {
				src.Selection = filecopy.Selection{Ignore: []string{"left"}}
			}
			in, err := Find(t.Context(), w.env, src)
			ok(t, err)
			if in.Timed() != test.timed {
				t.Errorf("timed: %t", in.Timed())
			}
			if w.views != 0 {
				t.Error("it is open before it is asked for")
			}
			digest, err := in.Digest(t.Context())
			ok(t, err)
			opened, err := in.Open(t.Context())
			ok(t, err)
			again, err := in.Open(t.Context())
			ok(t, err)
			if again.Root != opened.Root {
				t.Error("it is opened twice")
			}
			if (opened.Sums != nil) != (src.Dir != "") {
				t.Error("digests are remembered of files whose inodes come again")
			}
			walked, err := filecopy.Digest(t.Context(), opened)
			ok(t, err)
			ok(t, in.Read(walked, nil))
			if walked != digest {
				t.Errorf("the digest is %s, and that of what is open %s", digest, walked)
			}
			if got := in.Read("", errBroken); !errors.Is(got, errBroken) {
				t.Errorf("the error of a walk became %v", got)
			}
			other := newInput(t, w, test.source, name)
			if before, views := w.views, 0; test.layer {
				digest2, err := other.Digest(t.Context())
				ok(t, err)
				if views = w.views - before; views != 0 || digest2 != digest {
					t.Errorf("what is known was opened again (%d): %s, %s", views, digest2, digest)
				}
			}
			ok(t, other.Close())
			ok(t, in.Close())
			if w.open != 0 {
				t.Errorf("%d views are open", w.open)
			}
			if left, err := os.ReadDir(w.env.Memory); err != nil || len(left) > 0 {
				t.Errorf("left in memory: %v, %v", left, err)
			}
			if _, err := opened.Root.Stat(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("the root is open: %v", err)
			}
			compare(t, test.group, digest)
		})
	}
}

var errBroken = errors.New("broken")

// newInput finds the same once more, or for a stream, which is there once, something else.
func newInput(t *testing.T, w *world, src Source, name string) *Input {
	t.Helper()
	if src.Stream != nil {
		src = Source{Stage: "s"}
	}
	if src.URL == nil {
		src.Selection = filecopy.Selection{Ignore: []string{"left"}}
	}
	in, err := Find(t.Context(), w.env, src)
	if err != nil {
		t.Fatal(name, err)
	}
	return in
}

// digests are those of TestContract's groups.
var digests = struct {
	sync.Mutex
	of map[string]string
}{of: map[string]string{}}

// compare fails unless inputs of a group have the same digest, and those of others another.
func compare(t *testing.T, group, digest string) {
	t.Helper()
	digests.Lock()
	defer digests.Unlock()
	for other, d := range digests.of {
		if (other == group) != (d == digest) {
			t.Errorf("the digest of %s is %s, and that of %s %s", group, digest, other, d)
		}
	}
	digests.of[group] = digest
}

// A file is looked up by descriptor: a link of a layer is its own, and one of a directory does not
// lead out.
func TestOpenFile(t *testing.T) {
	w := newWorld(t)
	outside, dir := t.TempDir(), t.TempDir()
	fill(t)(outside)
	links := func(dir string) {
		fill(t)(dir)
		ok(t, os.Symlink(outside+"/d", filepath.Join(dir, "out")))
		ok(t, os.Symlink("../../../../../../../../.."+outside+"/d/f", filepath.Join(dir, "up")))
	}
	links(dir)
	w.stage("s", links)
	for _, test := range []struct {
		source Source
		name   string
		want   error
	}{
		{Source{Dir: dir}, "d/f", nil},
		{Source{Dir: dir}, "link", unix.EXDEV},
		{Source{Dir: dir}, "out/f", unix.EXDEV},
		{Source{Dir: dir}, "../" + filepath.Base(dir) + "/d/f", unix.EXDEV},
		{Source{Dir: dir}, "d", unix.EISDIR},
		{Source{Dir: dir}, "none", unix.ENOENT},
		{Source{Stage: "s"}, "d/f", nil},
		{Source{Stage: "s"}, "link", nil},
		{Source{Stage: "s"}, "../../d/f", nil},
		{Source{Stage: "s"}, "out/f", unix.ENOENT},
		{Source{Stage: "s"}, "up", unix.ENOENT},
	} {
		in, err := Find(t.Context(), w.env, test.source)
		ok(t, err)
		f, err := in.OpenFile(t.Context(), test.name)
		var link *foreign.LinkError
		if !errors.Is(err, test.want) || (test.want != nil) != (err != nil) || errors.As(err, &link) && !errors.Is(link.Err, test.want) {
			t.Errorf("%+v, %s: %v", test.source, test.name, err)
		}
		if err == nil {
			text, _ := io.ReadAll(f)
			if f.Close(); string(text) != "text" {
				t.Errorf("%s has %q", test.name, text)
			}
		}
		d, err := in.OpenDir(t.Context(), "out")
		if err == nil {
			t.Errorf("%+v: a directory outside is %s", test.source, d.Name())
		}
		ok(t, in.Close())
	}
}

// Bad sources are errors that say what they are, and leave nothing open.
func TestFindFails(t *testing.T) {
	w := newWorld(t)
	w.stage("s", fill(t))
	yes, no := true, false
	for _, test := range []struct {
		source Source
		want   error
		text   string
	}{
		{Source{}, limits.ErrInvalid, "names no files"},
		{Source{Dir: "/", Stage: "s"}, limits.ErrInvalid, "several things"},
		{Source{Stream: &Stream{}}, limits.ErrInvalid, "no file 0"},
		{Source{Stream: &Stream{File: 2}}, limits.ErrInvalid, "no file 2"},
		{Source{Stage: "none"}, limits.ErrInvalid, "none"},
		{Source{URL: &URL{URL: "ftp://example.org/f"}}, limits.ErrInvalid, "ftp"},
		{Source{URL: &URL{URL: "https://example.org/f", Checksum: "sha256:1"}}, limits.ErrInvalid, "checksum"},
		{Source{URL: &URL{URL: "https://example.org/f", Authorization: "a\nb"}}, limits.ErrInvalid, "control character"},
		{Source{Git: &Git{Ref: "https://example.org/r.git", Authorization: "a\rb"}}, limits.ErrInvalid, "control character"},
		{Source{Git: &Git{Ref: "https://example.org/r.git?keep-git-dir=1", KeepGitDir: &no}}, limits.ErrInvalid, "both true and false"},
		{Source{Git: &Git{Ref: "https://example.org/r.git?checksum=abcdef1", Checksum: "1"}}, limits.ErrInvalid, "both"},
		{Source{Git: &Git{Ref: "https://example.org/r.git", KeepGitDir: &yes, Checksum: "x"}}, nil, "not a commit's id"},
	} {
		_, err := Find(t.Context(), w.env, test.source)
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%+v: %v", test.source, err)
		}
		if IsNone(err) != (test.text == "names no files") {
			t.Errorf("%+v: that it names nothing: %t", test.source, IsNone(err))
		}
	}
	if _, err := Find(t.Context(), w.env, Source{Stage: "s", Chmod: "rwx"}); err == nil {
		t.Error("a bad mode is found out late")
	}
	none := filepath.Join(t.TempDir(), "none")
	for _, test := range []struct {
		dir  string
		want string
	}{{none, "cannot be opened: no such file"}, {"/etc/passwd", "is not a directory"}} {
		in, err := Find(t.Context(), w.env, Source{Dir: test.dir})
		ok(t, err)
		if _, err := in.Digest(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.dir, err)
		}
		ok(t, in.Close())
	}
	if all, err := FindAll(t.Context(), w.env, []Source{{Stage: "s"}, {}}); err == nil || all != nil {
		t.Errorf("all are found: %v", err)
	}
}

// Files that went away while they were read are no digest, and nothing is remembered of them.
func TestLayerRemoved(t *testing.T) {
	w := newWorld(t)
	w.stage("s", fill(t))
	in, err := Find(t.Context(), w.env, Source{Stage: "s"})
	ok(t, err)
	defer in.Close()
	src, err := in.Open(t.Context())
	ok(t, err)
	digest, err := filecopy.Digest(t.Context(), src)
	ok(t, err)
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", src.Root.Fd()))
	ok(t, err)
	ok(t, os.RemoveAll(filepath.Dir(path))) // as another program's prune does
	if err := in.Read(digest, nil); !errors.Is(err, storage.ErrRemoved) {
		t.Errorf("a digest of what is gone: %v", err)
	}
	if again, err := Find(t.Context(), w.env, Source{Stage: "s"}); err != nil || again.files.known() != "" {
		t.Errorf("it is remembered: %v", err)
	}
}

// A stream that does not go on ends with the context, and is not there afterwards.
func TestStreamCancelled(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		w := newWorld(t)
		r, writer, err := os.Pipe()
		ok(t, err)
		w.env.Call.Files = []*os.File{r}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				_, _ = writer.Write(make([]byte, 512))
			}
			time.Sleep(10 * time.Millisecond)
			writer.Close()
		}()
		in, err := Find(ctx, w.env, Source{Stream: &Stream{File: 1, Foreign: foreign}})
		ok(t, err)
		cancel()
		if _, err := in.Digest(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("foreign: %t: %v", foreign, err)
		}
		if _, err := in.Digest(t.Context()); err == nil {
			t.Error("a stream that was read in part is taken for the whole")
		}
		ok(t, in.Close())
		if left, err := os.ReadDir(w.env.Memory); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		r.Close()
	}
}

// The digest of several is not that of others, or of the same in another order.
func TestInputs(t *testing.T) {
	w := newWorld(t)
	one, two := t.TempDir(), t.TempDir()
	fill(t)(one)
	ok(t, os.WriteFile(filepath.Join(two, "f"), nil, 0o644))
	seen := map[string]string{}
	for name, dirs := range map[string][]string{"one": {one}, "two": {two}, "both": {one, two}, "the other way": {two, one}, "one twice": {one, one}} {
		var sources []Source
		for _, dir := range dirs {
			sources = append(sources, Source{Dir: dir})
		}
		all, err := FindAll(t.Context(), w.env, sources)
		ok(t, err)
		digest, err := all.Digest(t.Context())
		ok(t, err)
		if other := seen[digest]; other != "" {
			t.Errorf("%s and %s have the digest %s", name, other, digest)
		}
		seen[digest] = name
		opened, err := all.Open(t.Context())
		ok(t, err)
		target, err := os.Open(t.TempDir())
		ok(t, err)
		if read, err := all.Read(filecopy.Copy(t.Context(), filecopy.Target{Root: target, Dest: "/"}, opened)); err != nil || read != digest {
			t.Errorf("%s: copied %s, digested %s: %v", name, read, digest, err)
		}
		ok(t, errors.Join(target.Close(), all.Close()))
		for _, src := range opened {
			if _, err := src.Root.Stat(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s is open: %v", src.Root.Name(), err)
			}
		}
	}
}
