//go:build linux

package extract

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/chrootarchive"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// peerEnv makes this program the peer: it extracts what is below a directory with the storage library, in
// namespaces where it can.
const peerEnv = "OAKUM_TEST_EXTRACT_PEER"

func TestMain(m *testing.M) {
	if storage.Helper(os.Exit) {
		return
	}
	if dir := os.Getenv(peerEnv); dir != "" {
		if err := peer(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// unpackAsPeer runs the peer on dir. It is root of a user namespace when this process is an ordinary user.
func unpackAsPeer(t *testing.T, dir string) {
	t.Helper()
	args, env := []string{"--mount"}, append(os.Environ(), peerEnv+"="+dir)
	if uid := os.Geteuid(); uid != 0 {
		args = append(args, "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0")
		env = append(env, "_CONTAINERS_USERNS_CONFIGURED=done", fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", uid), fmt.Sprintf("_CONTAINERS_ROOTLESS_GID=%d", os.Getegid()))
	}
	cmd := exec.CommandContext(t.Context(), "unshare", append(args, "--", "/bin/sh", "-c", `umask 022 && exec "$0"`, "/proc/self/exe")...)
	cmd.Args[len(cmd.Args)-1] = os.Args[0]
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the peer: %v\n%s", err, out)
	}
}

// peer unpacks each stack: the layers "0", "1"... that stand on each other, or what is in "old" and
// the archive on top of it. It writes the list of what came of it into "listed", or the error into "failed".
func peer(dir string) error {
	stacks, err := filepath.Glob(dir + "/*")
	if err != nil {
		return err
	}
	for _, stack := range stacks {
		name, out := "listed", ""
		root, err := peerTree(stack)
		if err == nil {
			out, err = listing(root, nil)
			root.Close()
		}
		if err != nil {
			name, out = "failed", err.Error()
		}
		_ = unix.Unmount(stack+"/merged", unix.MNT_DETACH)
		// What belongs to other ids only goes here.
		for _, err := range []error{os.WriteFile(stack+"/"+name, []byte(out), 0o666), os.RemoveAll(stack + "/merged"), os.RemoveAll(stack + "/unpacked")} {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func peerTree(stack string) (*os.File, error) {
	merged := stack + "/merged"
	if err := os.MkdirAll(merged, 0o755); err != nil {
		return nil, err
	}
	if data, err := os.ReadFile(stack + "/archive"); err == nil {
		if err := chrootarchive.UntarUncompressed(mustOpen(stack+"/old"), merged, &archive.TarOptions{}); err != nil {
			return nil, err
		}
		entries := tarfilter.NewEntries(bytes.NewReader(data), (&tarfilter.Archive{}).Judge)
		if err := chrootarchive.UntarUncompressed(entries, merged, &archive.TarOptions{}); err != nil {
			return nil, err
		}
		return os.Open(merged)
	}
	lower := stack + "/unpacked/empty"
	if err := os.MkdirAll(lower, 0o755); err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		data, err := os.ReadFile(fmt.Sprintf("%s/%d", stack, i))
		if err != nil {
			break
		}
		to := fmt.Sprintf("%s/unpacked/%d", stack, i)
		if err := os.Mkdir(to, 0o755); err != nil {
			return nil, err
		}
		if err := chrootarchive.UntarUncompressed(bytes.NewReader(data), to, &archive.TarOptions{WhiteoutFormat: archive.OverlayWhiteoutFormat, InUserNS: rootless()}); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		lower = to + ":" + lower
	}
	options := "lowerdir=" + lower
	if rootless() {
		options += ",userxattr"
	}
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_RDONLY, options); err != nil {
		return nil, fmt.Errorf("mounting %s: %w", options, err)
	}
	return os.Open(merged)
}

func rootless() bool { return os.Getenv("_CONTAINERS_ROOTLESS_UID") != "" }

func mustOpen(name string) *os.File {
	f, err := os.Open(name)
	if err != nil {
		panic(err)
	}
	return f
}

// inventor makes up layers as builders make them: the directories around a file stand before it, and what is
// removed is there.
type inventor struct {
	*rand.Rand
	below map[string]byte // type of each file of the layers so far
	now   map[string]byte // of this layer
	out   []tar.Header
	// marked are those that this layer removes.
	marked map[string]bool
}

func (v *inventor) pick(kind string) (string, bool) {
	var found []string
	for name, k := range v.now {
		if strings.IndexByte(kind, k) >= 0 {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	if len(found) == 0 {
		return "", false
	}
	return found[v.IntN(len(found))], true
}

func (v *inventor) add(h tar.Header) {
	h.Uid, h.Gid, h.ModTime = v.IntN(3)*1000, v.IntN(3)*1000, time.Unix(int64(v.IntN(1000)), 0)
	if h.Typeflag != tar.TypeSymlink {
		h.Mode = []int64{0o644, 0o755, 0o555, 0, 0o4755, 0o2711, 0o1777}[v.IntN(7)]
	}
	if (h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeDir) && v.IntN(4) == 0 {
		h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": fmt.Sprint(v.IntN(9))}
	}
	if h.Typeflag != tar.TypeDir || v.below[h.Name] != tar.TypeDir {
		v.gone(h.Name)
	}
	v.now[h.Name] = h.Typeflag
	v.out = append(v.out, h)
}

// gone says that what the layers below have at a name is no longer there.
func (v *inventor) gone(name string) {
	for other := range v.below {
		if other == name || strings.HasPrefix(other, name+"/") {
			delete(v.below, other)
		}
	}
}

// dir gives a directory of the layer, "" for the root.
func (v *inventor) dir() string {
	name := ""
	for v.IntN(3) > 0 && strings.Count(name, "/") < 4 {
		above := name
		name = path.Join(name, fmt.Sprintf("d%d", v.IntN(3)))
		switch v.now[name] {
		case tar.TypeDir:
		case 0:
			if v.marked[name] {
				return above
			}
			hides := v.below[name] == tar.TypeDir && v.IntN(8) == 0
			v.add(tar.Header{Name: name, Typeflag: tar.TypeDir})
			if hides {
				v.out = append(v.out, tar.Header{Name: name + "/.wh..wh..opq", Typeflag: tar.TypeReg})
				v.gone(name)
			}
		default:
			return above
		}
	}
	return name
}

func (v *inventor) layer() []tar.Header {
	v.now, v.marked, v.out = map[string]byte{}, map[string]bool{}, nil
	for range 5 + v.IntN(25) {
		in := v.dir()
		name := path.Join(in, []string{"f", "g", "d0", "x\xff", strings.Repeat("n", 120)}[v.IntN(5)])
		if v.now[name] != 0 || v.marked[name] {
			continue
		}
		switch v.IntN(8) {
		case 0, 1, 2:
			v.add(tar.Header{Name: name, Typeflag: tar.TypeReg})
		case 3:
			v.add(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: []string{"f", "/d0", "../../d1", "nowhere"}[v.IntN(4)]})
		case 4:
			v.add(tar.Header{Name: name, Typeflag: tar.TypeFifo})
		case 5, 6:
			if to, ok := v.pick("0"); ok {
				v.add(tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to})
			}
		case 7:
			if v.below[name] != 0 {
				v.marked[name] = true
				v.out = append(v.out, tar.Header{Name: path.Join(in, ".wh."+path.Base(name)), Typeflag: tar.TypeReg})
				v.gone(name)
			}
		}
	}
	for name, kind := range v.now {
		v.below[name] = kind
	}
	return v.out
}

var recent = regexp.MustCompile(`(?m) \d{10}$`)

// settle takes out of a list the times of what was made just now.
func settle(list string) string { return recent.ReplaceAllString(list, " now") }

// Layers give the tree that an overlay shows of them when the storage library has unpacked them.
func TestSameAsOverlay(t *testing.T) {
	t.Parallel()
	dir := peerDir(t)
	stacks := map[string][][]byte{}
	for seed := range uint64(30) {
		v := &inventor{Rand: rand.New(rand.NewPCG(seed, 1)), below: map[string]byte{}}
		name := fmt.Sprintf("%s/%02d", dir, seed)
		if err := os.Mkdir(name, 0o777); err != nil {
			t.Fatal(err)
		}
		for i := range 2 + v.IntN(3) {
			data := pack(t, v.layer()...)
			stacks[name] = append(stacks[name], data)
			if err := os.WriteFile(fmt.Sprintf("%s/%d", name, i), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	unpackAsPeer(t, dir)
	for name, layers := range stacks {
		root, o := tree(t)
		var err error
		for _, layer := range layers {
			if err == nil {
				err = Layer(t.Context(), root, bytes.NewReader(layer), o)
			}
		}
		compare(t, name, root, o.Owners, err)
	}
}

// compare compares a tree with what the peer said.
func compare(t *testing.T, name string, root *os.File, o *owners.Owners, err error) {
	t.Helper()
	want, noList := os.ReadFile(name + "/listed")
	if noList != nil {
		failed, _ := os.ReadFile(name + "/failed")
		// The library fails at the times of a directory when something else has come to its place since.
		if err == nil && !strings.Contains(string(failed), "lstat /") {
			t.Errorf("%s: extracted, where the peer said: %s", filepath.Base(name), failed)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", filepath.Base(name), err)
	} else if got, want := settle(list(t, root, o)), settle(string(want)); got != want {
		t.Errorf("%s: got\n%swant\n%s", filepath.Base(name), got, want)
	}
}

func peerDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	// Below what only this user may enter, others have no rights; the peer makes them files.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// oddArchive makes up an archive of which little is as it should be.
func oddArchive(v *rand.Rand) (out []tar.Header) {
	names := []string{"a", "b", "a/b", "a/b/c", "./a//b/", "../a", "/b", "b/../c", "l", "l/a", "l/l/f", "k/f", "k", "c/d/e", "a/../../b/f"}
	for range 2 + v.IntN(7) {
		h := tar.Header{
			Name: names[v.IntN(len(names))], Mode: []int64{0o644, 0o755, 0o4711, 0o1777}[v.IntN(4)],
			Uid: v.IntN(2) * 1000, Gid: v.IntN(2) * 1000, ModTime: time.Unix(int64(v.IntN(1000)), 0),
		}
		switch v.IntN(8) {
		case 0, 1, 6, 7:
			h.Typeflag, h.Name = tar.TypeReg, strings.TrimSuffix(h.Name, "/")
		case 2:
			h.Typeflag = tar.TypeDir
		case 3, 4:
			h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
			h.Name = []string{"l", "k", "a/l", "b"}[v.IntN(4)]
			h.Linkname = []string{"a", "/", "../../..", "/b", "k", "l", ".", "c/../a", "/none/x"}[v.IntN(9)]
		case 5:
			h.Typeflag, h.Linkname = tar.TypeLink, names[v.IntN(len(names))]
		}
		out = append(out, h)
	}
	return out
}

// Archives that the storage library unpacks come out the same.
func TestSameAsLibrary(t *testing.T) {
	t.Parallel()
	dir := peerDir(t)
	odd := map[string][]byte{}
	old := pack(t, tar.Header{Name: "old", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 5}, symlink("k", "/old"), file("old/f"), file("b"))
	for seed := range uint64(120) {
		name := fmt.Sprintf("%s/%03d", dir, seed)
		odd[name] = pack(t, oddArchive(rand.New(rand.NewPCG(seed, 2)))...)
		for _, err := range []error{os.Mkdir(name, 0o777), os.WriteFile(name+"/archive", odd[name], 0o666), os.WriteFile(name+"/old", old, 0o666)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	unpackAsPeer(t, dir)
	same := 0
	for name, data := range odd {
		root, o := tree(t)
		if err := Archive(t.Context(), root, bytes.NewReader(old), &tarfilter.Archive{}, o); err != nil {
			t.Fatal(err)
		}
		err := Archive(t.Context(), root, bytes.NewReader(data), &tarfilter.Archive{}, o)
		if err == nil {
			same++
		}
		compare(t, name, root, o.Owners, err)
	}
	if same < len(odd)/4 {
		t.Errorf("only %d of %d archives can be extracted at all", same, len(odd))
	}
}
