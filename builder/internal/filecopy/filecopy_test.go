//go:build linux

package filecopy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/patternmatcher"
	"golang.org/x/sys/unix"
)

// into copies to a new directory and gives what is in it, and the digest.
func into(t *testing.T, dest string, sources ...Tree) (string, string, error) {
	t.Helper()
	target := openDir(t, t.TempDir())
	sums, err := Copy(t.Context(), Target{Root: target, Dest: dest, Owner: IDs{os.Getuid(), os.Getgid()}}, sources)
	return list(t, target.Name()), strings.Join(sums, " "), err
}

func TestIgnore(t *testing.T) {
	root := makeTree(t, "a b.go b_test.go dir/x dir/y dir/sub/x dir/sub/z other/x .git/config .git/hooks/h node/deep/er/keep node/drop")
	for _, test := range []struct {
		ignore, exclude string
		want            string
	}{
		{"", "", ".git/ .git/config .git/hooks/ .git/hooks/h a b.go b_test.go dir/ dir/sub/ dir/sub/x dir/sub/z dir/x dir/y node/ node/deep/ node/deep/er/ node/deep/er/keep node/drop other/ other/x"},
		{".git node", "", "a b.go b_test.go dir/ dir/sub/ dir/sub/x dir/sub/z dir/x dir/y other/ other/x"},
		{".git node *.go", "", "a dir/ dir/sub/ dir/sub/x dir/sub/z dir/x dir/y other/ other/x"},
		{"* !dir", "", "dir/ dir/sub/ dir/sub/x dir/sub/z dir/x dir/y"},
		{"* !dir dir/sub", "", "dir/ dir/x dir/y"},
		{"* !dir/x", "", "dir/ dir/x"},
		{"dir !dir/sub/x .git node other", "", "a b.go b_test.go dir/ dir/sub/ dir/sub/x"},
		{"* !node/deep/er/keep", "", "node/ node/deep/ node/deep/er/ node/deep/er/keep"},
		{"* !**/x", "", "dir/ dir/sub/ dir/sub/x dir/x other/ other/x"},
		{"* !*.go *_test.go", "", "b.go"},
		{"**", "", ""},
		{"* !nope", "", ""},
		{"/a ./b.go .git/ node/ dir/../other dir", "", "b_test.go"},
		{".git node", "dir *.go", "a other/ other/x"},
		{".git node", "* !dir/y", "dir/ dir/y"},
		{"* !dir", "**/x", "dir/ dir/sub/ dir/sub/z dir/y"},
		{"* !dir/s*/[z] !node/*/er/keep", "", "dir/ dir/sub/ dir/sub/z node/ node/deep/ node/deep/er/ node/deep/er/keep"},
		{"* !*/**/z", "", "dir/ dir/sub/ dir/sub/z"},
		{"* !dir/su**z", "", "dir/ dir/sub/ dir/sub/z"},
		{"!dir * !other", "* !**/x", "other/ other/x"},
		{"../a /../b.go", "", "a .git/ .git/config .git/hooks/ .git/hooks/h dir/ dir/sub/ dir/sub/x dir/sub/z dir/x dir/y node/ node/deep/ node/deep/er/ node/deep/er/keep node/drop other/ other/x b_test.go"},
	} {
		got, _, err := into(t, "/", Tree{Root: root, Selection: Selection{Ignore: strings.Fields(test.ignore), Exclude: strings.Fields(test.exclude)}})
		want := strings.Fields(test.want)
		slices.Sort(want)
		have := strings.Fields(got)
		slices.Sort(have)
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("ignore %q, exclude %q: got %q, %v, want %q", test.ignore, test.exclude, have, err, want)
		}
	}
}

// Directories that are kept for what is in them keep their attributes, and directories
// made on the way have those of an octal mode.
func TestDirectoriesOnTheWay(t *testing.T) {
	root := makeTree(t, "a/b/c/f a/b/g")
	if err := errors.Join(os.Chmod(filepath.Join(root.Name(), "a/b"), 0o700), os.Chmod(filepath.Join(root.Name(), "a"), 0o711)); err != nil {
		t.Fatal(err)
	}
	octal, symbolic := Mode{octal: 0o4750}, Mode{changes: []change{{op: '+', bits: 0o007}}}
	for _, test := range []struct {
		name string
		dest string
		src  Tree
		want string
	}{
		{"ignored around what is not", "/", Tree{Selection: Selection{Ignore: []string{"a", "!a/b/c/f"}}}, "a/711 a/b/700 a/b/c/ a/b/c/f"},
		{"excluded around what is not", "/", Tree{Selection: Selection{Exclude: []string{"*", "!a/b/g"}}}, "a/711 a/b/700 a/b/g"},
		{"octal, of a file", "/x/y/f", Tree{Mode: &octal, Selection: Selection{Patterns: []string{"a/b/g"}}}, "x/750 x/y/750 x/y/f"},
		{"octal, into a directory", "/x/", Tree{Mode: &octal, Selection: Selection{Patterns: []string{"a/b/g"}}}, "x/750 x/g"},
		{"octal, of a directory", "/x/y", Tree{Mode: &octal, Selection: Selection{Patterns: []string{"a/b/c"}}}, "x/750 x/y/750 x/y/f"},
		{"symbolic", "/x/y", Tree{Mode: &symbolic, Selection: Selection{Patterns: []string{"a/b/c"}}}, "x/ x/y/ x/y/f"},
	} {
		test.src.Root = root
		got, _, err := into(t, test.dest, test.src)
		if err != nil || got != test.want {
			t.Errorf("%s: got %q, %v, want %q", test.name, got, err, test.want)
		}
	}
}

// A directory that is there and only passed through changes its mode alone. Who runs this
// as root sees that the owner stays.
func TestDirectoriesPassedThrough(t *testing.T) {
	root := makeTree(t, "a/b/f")
	if err := os.Chmod(filepath.Join(root.Name(), "a"), 0o711); err != nil {
		t.Fatal(err)
	}
	uid := os.Getuid()
	if uid == 0 {
		uid = 7
	}
	for _, src := range []Tree{{Selection: Selection{Exclude: []string{"*", "!a/b"}}}, {Selection: Selection{Parents: true, Patterns: []string{"a/b"}}}, {Selection: Selection{Ignore: []string{"*", "!a/b"}}}} {
		to := makeTree(t, "a/b/")
		a := filepath.Join(to.Name(), "a")
		if err := errors.Join(os.Chmod(a, 0o700), os.Chown(a, uid, -1)); err != nil {
			t.Fatal(err)
		}
		src.Root, src.Owner = root, &IDs{os.Getuid(), os.Getgid()}
		if _, err := Copy(t.Context(), Target{Root: to, Dest: "/", Owner: *src.Owner}, []Tree{src}); err != nil {
			t.Fatal(err)
		}
		want := uid
		if src.Ignore != nil {
			want = os.Getuid() // it is in the context
		}
		var st unix.Stat_t
		if err := unix.Stat(a, &st); err != nil || int(st.Uid) != want || st.Mode&0o7777 != 0o711 {
			t.Errorf("%+v: mode %o, owner %d, %v", src, st.Mode, st.Uid, err)
		}
	}
}

// A socket is an empty file of its mode, or nothing.
func TestSockets(t *testing.T) {
	root := makeTree(t, "d/f")
	for _, name := range []string{"s", "d/s"} {
		if err := unix.Mknod(filepath.Join(root.Name(), name), unix.S_IFSOCK|0o640, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		src  Tree
		want string
	}{
		{Tree{Sockets: true}, "d/ d/f d/s s"},
		{Tree{Sockets: true, Selection: Selection{Patterns: []string{"s"}}}, "s"},
		{Tree{}, "d/ d/f"},
		{Tree{Selection: Selection{Patterns: []string{"s"}}}, ""},
	} {
		test.src.Root = root
		target := openDir(t, t.TempDir())
		sum, err := copyOne(t.Context(), Target{Root: target, Dest: "/", Owner: IDs{os.Getuid(), os.Getgid()}}, newAhead(nil), &test.src)
		if got := list(t, target.Name()); err != nil || got != test.want {
			t.Errorf("got %q, %v, want %q", got, err, test.want)
		}
		if again, err := Digest(t.Context(), test.src); err != nil || again != sum {
			t.Errorf("digests %s and %s, %v", sum, again, err)
		}
		info, err := os.Lstat(filepath.Join(target.Name(), "s"))
		if test.src.Sockets && (err != nil || info.Mode() != 0o640 || info.Size() != 0) {
			t.Errorf("the socket is %v, %v", info, err)
		}
	}
}

// A wildcard names files in directories, not behind links; links before it are followed.
func TestWildcardsAndLinks(t *testing.T) {
	root := makeTree(t, "d/one/f d/two/g l->d d/ln->one to->d/one/f")
	for pattern, want := range map[string]string{
		"*/one/f": "f", "l/*/f": "f", "l*/one/f": "", "d/l*/f": "", "l/ln/[f]": "f", "t*": "to", "d/l*": "f", "l/*/../*/g": "g",
	} {
		got, _, err := into(t, "/", Tree{Root: root, Selection: Selection{Patterns: []string{pattern}}})
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", pattern, got, err, want)
		}
	}
}

// Patterns are about the files as they lie there, and about the links that lead to them.
func TestIgnoreBehindLinks(t *testing.T) {
	root := makeTree(t, "d/s d/t f file->f dir->d in/up->../d chain->in/up")
	for _, test := range []struct {
		pattern, ignore string
		parents         bool
		want            string // "" is an error
	}{
		{"file", "f", false, ""},
		{"file", "file", false, ""},
		{"file", "d", false, "file"},
		{"dir", "d/s", false, "t"},
		{"dir", "dir/s", false, "s t"},
		{"dir", "d", false, ""},
		{"dir", "d !d/t", false, "t"},
		{"dir/s", "d/s", false, ""},
		{"dir/*", "d/s", false, "t"},
		{"di*", "d/s", false, "t"},
		{"chain", "d/s", false, "t"},
		{"in/up/t", "in/up", false, ""},
		{"dir/./*", "d/s", true, "t"},
		{"dir/./s", "d/s", true, ""},
		{"dir/./t", "dir", true, ""},
	} {
		got, _, err := into(t, "/", Tree{Root: root, Selection: Selection{Patterns: []string{test.pattern}, Ignore: strings.Fields(test.ignore), Parents: test.parents}})
		var missing *NotFoundError
		if got != test.want || errors.As(err, &missing) != (test.want == "") {
			t.Errorf("%s, ignoring %s: got %q, %v, want %q", test.pattern, test.ignore, got, err, test.want)
		}
	}
}

// What is left out is not opened where no pattern can take anything back.
func TestLeftOutIsNotRead(t *testing.T) {
	root := makeTree(t, "closed/f open/f a")
	closed := filepath.Join(root.Name(), "closed")
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(closed, 0o700)
	if os.Getuid() == 0 { // who may read everything, but not as another
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer unix.Setfsuid(0)
	}
	digest := func(pattern, ignore string) (string, error) {
		return Digest(t.Context(), Tree{Root: root, Selection: Selection{Patterns: strings.Fields(pattern), Ignore: strings.Fields(ignore)}})
	}
	for _, ignore := range []string{"closed", "* !a", "closed !open/x", "c* !open/**", "closed/ !*.go"} {
		if _, err := digest("", ignore); err != nil {
			t.Errorf("%s: %v", ignore, err)
		}
	}
	want, err := digest("open/f", "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := digest("*/f", "closed"); err != nil || got != want {
		t.Errorf("a wildcard: %q, %v", got, err)
	}
	for _, ignore := range []string{"", "* !**/a", "closed !closed/x"} {
		if _, err := digest("", ignore); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", ignore, err)
		}
	}
}

// The digest is of what is selected, whatever it is called above, and a copy reads the
// same.
func TestDigestIsTheCopys(t *testing.T) {
	names := "a b/c b/d/e l->a broken->/none empty/"
	one, two := makeTree(t, names), makeTree(t, names)
	if err := os.Chtimes(filepath.Join(two.Name(), "a"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for name, source := range map[string]Tree{
		"all": {}, "a": {Selection: Selection{Patterns: []string{"a"}}}, "l": {Selection: Selection{Patterns: []string{"l"}}}, "b": {Selection: Selection{Patterns: []string{"b"}}}, "all but b": {Selection: Selection{Ignore: []string{"b"}}}, "e in b": {Selection: Selection{Ignore: []string{"b", "!b/d/e"}}},
		"two": {Selection: Selection{Patterns: []string{"a", "b"}}}, "two the other way": {Selection: Selection{Patterns: []string{"b", "a"}}}, "owned": {Owner: &IDs{os.Getuid(), os.Getgid()}},
		"empty": {Selection: Selection{Patterns: []string{"empty"}}}, "none": {Selection: Selection{Patterns: []string{"*.none"}}}, "each": {Selection: Selection{Patterns: []string{"[a-z]", "e*"}}},
	} {
		var got []string
		for _, root := range []*os.File{one, two} {
			source.Root = root
			digest, err := Digest(t.Context(), source)
			if err != nil {
				t.Fatal(name, err)
			}
			_, copied, err := into(t, "/x/", source)
			if err != nil {
				t.Fatal(name, err)
			}
			got = append(got, digest, copied)
		}
		if len(slices.Compact(slices.Clone(got))) != 1 {
			t.Errorf("%s: digests %q", name, got)
		}
		if other, taken := sums[got[0]]; taken {
			t.Errorf("%s and %s have one digest", name, other)
		}
		sums[got[0]] = name
	}
}

// A digest that is known is not read again, and one that was read is put down.
func TestSums(t *testing.T) {
	root := makeTree(t, "a b/c")
	memory := &memory{}
	source := Tree{Root: root, Sums: memory}
	first, err := Digest(t.Context(), source)
	if err != nil || memory.puts != 2 || memory.hits != 0 {
		t.Fatalf("%d puts, %d hits: %v", memory.puts, memory.hits, err)
	}
	second, err := Digest(t.Context(), source)
	if err != nil || second != first || memory.puts != 2 || memory.hits != 2 {
		t.Errorf("%d puts, %d hits, %s, %s: %v", memory.puts, memory.hits, first, second, err)
	}
	target := openDir(t, t.TempDir())
	copied, err := copyOne(t.Context(), Target{Root: target, Dest: "/", Owner: IDs{os.Getuid(), os.Getgid()}}, newAhead(nil), &source)
	if err != nil || copied != first {
		t.Errorf("copied %s, want %s: %v", copied, first, err)
	}
}

type memory struct {
	sums       map[uint64][32]byte
	puts, hits int
}

func (m *memory) Get(st *unix.Stat_t) ([32]byte, bool) {
	sum, ok := m.sums[st.Ino]
	if ok {
		m.hits++
	}
	return sum, ok
}

func (m *memory) Put(st *unix.Stat_t, sum [32]byte) {
	if m.sums == nil {
		m.sums = map[uint64][32]byte{}
	}
	m.sums[st.Ino] = sum
	m.puts++
}

func TestLinksToNothing(t *testing.T) {
	root := makeTree(t, "d/broken->none d/f top->/none loop->loop")
	for pattern, want := range map[string]string{"d/broken": "d/broken", "d/*": "d/broken", "*/b*": "d/broken", "t*": "top", "lo*": "loop"} {
		_, _, err := into(t, "/x/", Tree{Root: root, Selection: Selection{Patterns: []string{pattern}}})
		var missing *NotFoundError
		if !errors.As(err, &missing) || missing.Path != want {
			t.Errorf("%s: got %v", pattern, err)
		}
		if leads := map[string]string{"d/broken": `"/d/none"`, "top": `"/none"`, "loop": "in a circle"}[want]; !strings.Contains(err.Error(), leads) {
			t.Errorf("%s: got %v, which does not say %s", pattern, err, leads)
		}
	}
	if got, _, err := into(t, "/x/", Tree{Root: root, Selection: Selection{Patterns: []string{"d"}}}); err != nil || got != "x/ x/broken x/f" {
		t.Errorf("their directory: got %q, %v", got, err)
	}
}

// A wildcard names a directory of which only a part is not ignored.
func TestWildcardAndIgnore(t *testing.T) {
	root := makeTree(t, "dir/x dir/y other/z a.go b.go")
	for pattern, want := range map[string]string{"d*": "x/ x/x", "*": "x/ x/a.go x/x", "d*/*": "x/ x/x", "o*": "", "o*/z": "", "b*": ""} {
		got, _, err := into(t, "/x/", Tree{Root: root, Selection: Selection{Patterns: []string{pattern}, Ignore: []string{"*", "!dir/x", "!a.go"}}})
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", pattern, got, err, want)
		}
	}
}

// A directory of which all is ignored is not there, even if a pattern might have kept
// something in it.
func TestIgnoredWholly(t *testing.T) {
	root := makeTree(t, "dir/sub/x dir/y a")
	for ignore, want := range map[string]string{"** !dir/z": "", "dir !dir/sub/x": "x/ x/sub/ x/sub/x", "* !*/y": "x/ x/y"} {
		got, _, err := into(t, "/x", Tree{Root: root, Selection: Selection{Patterns: []string{"dir"}, Ignore: strings.Fields(ignore)}})
		var missing *NotFoundError
		if got != want || (want == "") != errors.As(err, &missing) {
			t.Errorf("%s: got %q, %v, want %q", ignore, got, err, want)
		}
	}
}

func TestCancelled(t *testing.T) {
	root := makeTree(t, "a b/c")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Digest(ctx, Tree{Root: root}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := Digest(ctx, Tree{Root: root, Selection: Selection{Patterns: []string{"a"}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("of a file: got %v", err)
	}
}

func TestResolve(t *testing.T) {
	root := makeTree(t, "a/b/f abs->/a up->../../../../a loop->loop l1->l2 l2->a/b self->. deep/l->../up/b out->/no/such")
	for name, want := range map[string]string{
		"": "/", "/": "/", "a": "/a", "/a/../a/./b": "/a/b", "../../a": "/a", "abs/b": "/a/b", "up/b/f": "/a/b/f", "l1": "/a/b", "l1/..": "/a",
		"self/self/a": "/a", "deep/l/f": "/a/b/f", "out/x": "/no/such/x", "none/../a": "/a", "a/b/f/x": "/a/b/f/x", "//a//b//": "/a/b",
	} {
		if got, err := Resolve(root, name); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
	var invalid *InvalidError
	if got, err := Resolve(root, "loop/x"); !errors.As(err, &invalid) {
		t.Errorf("a loop is %q, %v", got, err)
	}
}

// FuzzCopy copies a small tree by any ignore and exclude patterns, and compares with
// what the patterns say of each path alone.
func FuzzCopy(f *testing.F) {
	f.Add("dir\n!dir/x", "")
	f.Add("*\n!*/sub", "x\n!x")
	f.Add("**/x\n!dir", "sub")
	f.Add("[a-", "\\")
	f.Add("..\n/..\n!../x", "./\n.")
	root := makeTree(f, "a dir/x dir/y dir/sub/x dir/sub/z l->dir [x]/f")
	f.Fuzz(func(t *testing.T, ignore, exclude string) {
		source := Tree{Root: root, Selection: Selection{Ignore: strings.Split(ignore, "\n"), Exclude: strings.Split(exclude, "\n")}}
		digest, digestErr := Digest(t.Context(), source)
		got, copied, err := into(t, "/", source)
		if (err == nil) != (digestErr == nil) || digest != copied && err == nil {
			t.Fatalf("ignore %q, exclude %q: digest %s, %v; copied %s, %v", ignore, exclude, digest, digestErr, copied, err)
		}
		if err != nil {
			return
		}
		var files []string
		for name := range strings.FieldsSeq(got) {
			if !strings.HasSuffix(name, "/") {
				files = append(files, name)
			}
		}
		if want := expected(t, root.Name(), source); !slices.Equal(files, want) {
			t.Errorf("ignore %q, exclude %q: got %q, want %q", ignore, exclude, files, want)
		}
	})
}

// expected lists the files that neither patterns match.
func expected(t *testing.T, dir string, source Tree) []string {
	t.Helper()
	var matchers []*patternmatcher.PatternMatcher
	for _, patterns := range [][]string{source.Ignore, source.Exclude} {
		m, err := matcher(patterns)
		if err != nil {
			t.Fatal(err)
		}
		matchers = append(matchers, m)
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(dir, path)
		if err = errors.Join(err, relErr); err != nil || d.IsDir() {
			return err
		}
		for _, m := range matchers {
			if skip, err := m.MatchesOrParentMatches(rel); err != nil || skip {
				return err
			}
		}
		files = append(files, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A backslash escapes what follows it, and a pattern that has nothing but that names one file, which must be there.
func TestBackslashes(t *testing.T) {
	root := makeTree(t, `a\x2db xzy q\*r q*r d\e/f`)
	for pattern, want := range map[string]string{`a\\x2db`: `a\x2db`, `a*\\x2db`: `a\x2db`, `q\*r`: `q*r`, `?\*r`: `q*r`, `d\\e/f`: "f", `d\\e/?`: "f", `x\zy`: "xzy"} {
		got, _, err := into(t, "/to/", Tree{Root: root, Selection: Selection{Patterns: []string{pattern}}})
		if err != nil || got != fmt.Sprintf("to/ to/%s", want) {
			t.Errorf("%s: %q, %v", pattern, got, err)
		}
	}
	var missing *NotFoundError
	var invalid *InvalidError
	for _, pattern := range []string{`a\x2db`, `nope\\x2d`, `\.\./x`, `x\*`} {
		if got, _, err := into(t, "/to/", Tree{Root: root, Selection: Selection{Patterns: []string{pattern}}}); !errors.As(err, &missing) {
			t.Errorf("%s: %q, %v", pattern, got, err)
		}
	}
	if _, _, err := into(t, "/to/", Tree{Root: root, Selection: Selection{Patterns: []string{`x\`}}}); !errors.As(err, &invalid) {
		t.Errorf("a backslash before nothing: %v", err)
	}
}

// FuzzPatterns selects from a small tree: nothing but what is in it, or an error of
// those that are promised.
func FuzzPatterns(f *testing.F) {
	for _, seed := range []string{"a", "*", "dir/*", "*/*", "[", "../*", "[[]x]/f", "l", "l/x", "\\a", "di?/s*/z", ""} {
		f.Add(seed)
	}
	outside := f.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o644); err != nil {
		f.Fatal(err)
	}
	root := makeTree(f, "a dir/x dir/y dir/sub/x dir/sub/z l->dir [x]/f out->"+outside+" up->../../../../../../../.."+outside)
	f.Fuzz(func(t *testing.T, pattern string) {
		got, _, err := into(t, "/to/", Tree{Root: root, Selection: Selection{Patterns: []string{pattern}}})
		var missing *NotFoundError
		var invalid *InvalidError
		if err != nil && !errors.As(err, &missing) && !errors.As(err, &invalid) && !strings.ContainsRune(pattern, 0) && !errors.Is(err, unix.ENAMETOOLONG) {
			t.Errorf("%q: %v", pattern, err)
		}
		if strings.Contains(got, "secret") {
			t.Errorf("%q: %s", pattern, got)
		}
	})
}

// Times are part of the digest of timed sources alone.
func TestDigestOfTimes(t *testing.T) {
	root := makeTree(t, "d/f")
	digest := func(timed bool, at int64) string {
		when := time.Unix(at, 0)
		if err := os.Chtimes(filepath.Join(root.Name(), "d/f"), when, when); err != nil {
			t.Fatal(err)
		}
		sum, err := Digest(t.Context(), Tree{Root: root, Timed: timed})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	if digest(false, 1) != digest(false, 2) {
		t.Error("the time counts")
	}
	if digest(true, 1) == digest(true, 2) {
		t.Error("the time of a timed source does not count")
	}
}
