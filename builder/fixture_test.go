//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	_ "github.com/oakum-build/oakum/builder/oci" // for tests of both sandboxes
	"github.com/oakum-build/oakum/builder/push"
	"github.com/oakum-build/oakum/storage/compression"
)

// The tests build for real, in stores in temporary directories. Their base is nothing
// but Debian's static busybox (hack/deps installs it).

const (
	busyboxPath = "/bin/busybox"
	passwd      = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n"
	group       = "root:x:0:\napps:x:1001:\nweb:x:33:\nextra:x:2000:app,web\nmore:x:2001:app\n"

	// applets are busybox's that the tests' commands use. All would be four times as many files in hundreds of bases.
	applets = `[ [[ awk bzip2 cat chmod chown cmp cp cut date df echo env false find grep gunzip gzip head hostname httpd id
		kill ln ls mkdir mkfifo mknod mount mv nc nproc od printf ps pwd readlink rm rmdir sed seq setsid sh sleep sort
		stat stty su tail tar tee test touch tr true truncate tty umount unshare usleep wc wget xargs xz yes`
)

// baseDir has the files of the base image. Beside it there is room for what tests make once.
var baseDir string

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	dir, err := makeBase()
	if err != nil {
		fmt.Fprintln(os.Stderr, "the tests' base image:", err)
		os.Exit(1)
	}
	baseDir = filepath.Join(dir, "base")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func makeBase() (string, error) {
	dir, err := os.MkdirTemp("", "oakum-base-")
	if err != nil {
		return "", err
	}
	base := filepath.Join(dir, "base")
	for _, d := range []string{"bin", "etc", "root", "tmp", "home/app", "dev", "proc", "sys"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o755); err != nil {
			return "", err
		}
	}
	bin, err := os.ReadFile(busyboxPath)
	if err != nil {
		return "", fmt.Errorf("%w; hack/deps installs busybox-static", err)
	}
	for applet := range strings.FieldsSeq(applets) {
		if err := os.Symlink("busybox", filepath.Join(base, "bin", applet)); err != nil {
			return "", err
		}
	}
	return dir, errors.Join(
		os.WriteFile(filepath.Join(base, "bin/busybox"), bin, 0o755),
		os.WriteFile(filepath.Join(base, "etc/passwd"), []byte(passwd), 0o644),
		os.WriteFile(filepath.Join(base, "etc/group"), []byte(group), 0o644),
	)
}

// tempDir is a directory that may come to hold files of subordinate ids, which only
// root of a user namespace can remove.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "oakum-store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeStore(dir); err != nil {
			t.Errorf("removing %s: %v", dir, err)
		}
	})
	return dir
}

func removeStore(dir string) error {
	if os.Geteuid() == 0 {
		return os.RemoveAll(dir)
	}
	out, err := exec.Command("unshare", "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0", "rm", "-rf", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// open opens a Builder on a store of its own.
func open(t testing.TB) *builder.Builder {
	t.Helper()
	return openIn(t, builder.Options{Root: tempDir(t)})
}

func openIn(t testing.TB, opts builder.Options) *builder.Builder {
	t.Helper()
	b, err := builder.Open(t.Context(), chosen(opts))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the builder: %v", err)
		}
	})
	return b
}

// scratch starts a stage from nothing.
func scratch(t testing.TB, b *builder.Builder) *builder.Stage {
	t.Helper()
	return stage(t, b, builder.Scratch, builder.StageOptions{})
}

func stage(t testing.TB, b *builder.Builder, from string, opts builder.StageOptions) *builder.Stage {
	t.Helper()
	s, err := b.Stage(t.Context(), from, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// base starts a stage with busybox in it.
func base(t testing.TB, b *builder.Builder) *builder.Stage {
	t.Helper()
	s := scratch(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(baseDir))))
	return s
}

// ok fails the test at an error.
func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is fails the test unless err matches the target.
func is(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want one that matches %q", err, target)
	}
}

// equal fails the test when two texts differ.
func equal(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
}

// sh gives what a shell script writes in a stage that it leaves as it was.
func sh(t testing.TB, s *builder.Stage, script string) string {
	t.Helper()
	return output(t, s, builder.Cmd{Args: []string{"/bin/sh", "-c", script}, Ephemeral: true})
}

func output(t testing.TB, s *builder.Stage, cmd builder.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if _, err := s.Run(t.Context(), cmd); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out.String())
	}
	return out.String()
}

// errOf is the error of a step.
func errOf(_ builder.Step, err error) error { return err }

// run runs a script as a step.
func run(t testing.TB, s *builder.Stage, script string) builder.Step {
	t.Helper()
	var out bytes.Buffer
	step, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.String())
	}
	return step
}

// tree is a directory with files: name to content, a name with a slash at its end
// being a directory, and a content that begins with "-> " a symbolic link.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
		target, link := strings.CutPrefix(content, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			ok(t, os.MkdirAll(path, 0o755))
		case link:
			ok(t, os.Symlink(target, path))
		default:
			ok(t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
	return dir
}

// find lists the files below dir in a stage that has busybox: type, mode, owner, name.
func find(t testing.TB, s *builder.Stage, dir string) string {
	t.Helper()
	return sh(t, s, "cd "+dir+` && find . -xdev -mindepth 1 -exec stat -c '%F %a %u:%g %n' {} + |
		sed 's/regular empty file/f/; s/regular file/f/; s/symbolic link/l/; s/directory/d/; s,\./,,' | sort -k 4`)
}

// tarEntry is one entry of a layer.
type tarEntry struct {
	*tar.Header
	content string
}

// asIs is for a push of which only the files matter: with the race detector, a second per megabyte goes into
// compressing them.
var asIs = builder.PushOptions{Compression: push.Compression{Algorithm: compression.Uncompressed}}

// layers gives the layers of an image as it leaves the store.
func layers(t testing.TB, b *builder.Builder, ref string) [][]tarEntry {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	_, err := b.Push(t.Context(), ref, "dir:"+dir, asIs)
	ok(t, err)
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	ok(t, err)
	var m imgspec.Manifest
	ok(t, json.Unmarshal(raw, &m))
	detail, err := b.Inspect(t.Context(), ref)
	ok(t, err)
	if len(m.Layers) != len(detail.Layers) {
		t.Fatalf("%d layers in the manifest, %d diff IDs", len(m.Layers), len(detail.Layers))
	}
	out := make([][]tarEntry, len(m.Layers))
	for i, l := range m.Layers {
		out[i] = readLayer(t, filepath.Join(dir, l.Digest.Encoded()), detail.Layers[i])
	}
	return out
}

// readLayer reads a layer and checks that it is what its diff ID says.
func readLayer(t testing.TB, path string, diffID digest.Digest) []tarEntry {
	t.Helper()
	data, err := os.ReadFile(path)
	ok(t, err)
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(data))
		ok(t, err)
		data, err = io.ReadAll(z)
		ok(t, err)
	}
	equal(t, string(digest.FromBytes(data)), string(diffID))
	var out []tarEntry
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		ok(t, err)
		content, err := io.ReadAll(r)
		ok(t, err)
		out = append(out, tarEntry{h, string(content)})
	}
}

// lastLayer commits a stage and gives its uppermost layer.
func lastLayer(t testing.TB, b *builder.Builder, s *builder.Stage) []tarEntry {
	t.Helper()
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	all := layers(t, b, img.ID)
	return all[len(all)-1]
}

// names lists what a layer holds, sorted, one a line.
func names(layer []tarEntry) string {
	var out []string
	for _, e := range layer {
		out = append(out, e.Name)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func entryOf(t testing.TB, layer []tarEntry, name string) tarEntry {
	t.Helper()
	i := slices.IndexFunc(layer, func(e tarEntry) bool { return strings.TrimSuffix(e.Name, "/") == name })
	if i < 0 {
		t.Fatalf("no %s in the layer:\n%s", name, names(layer))
	}
	return layer[i]
}

func setxattr(t testing.TB, path, name, value string) {
	t.Helper()
	if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
		t.Fatalf("setxattr %s: %v", path, err)
	}
}

func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}
