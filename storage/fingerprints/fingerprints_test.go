package fingerprints

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// key is the key or content of a number.
func key(n int) string { return fmt.Sprintf("%064x", n) }

// listing is a complete one.
func listing(d *Dir, content string, files ...File) *Listing {
	l := d.NewListing()
	l.Begin()
	for _, f := range files {
		l.Add(f, "")
		l.SetContent(sha256.Sum256([]byte(f.Path)))
	}
	l.End(content)
	return l
}

// Sums are the same for all who have the directory open, also when several make its secret at once, and
// others in each directory.
func TestSecret(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	sums := make([]Sum, 16)
	var wg sync.WaitGroup
	for i := range sums {
		d := open(t, path)
		wg.Go(func() {
			var err error
			if sums[i], err = d.Sum([]byte("value")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range sums {
		if s != sums[0] || s == (Sum{}) {
			t.Errorf("sums are %v", sums)
		}
	}
	other, err := open(t, t.TempDir()).Sum([]byte("value"))
	ok(t, err)
	if other == sums[0] {
		t.Error("two directories give the same sum")
	}
	info, err := os.Stat(filepath.Join(path, saltFile))
	ok(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the secret's mode is %v", info.Mode())
	}
	names, err := filepath.Glob(filepath.Join(path, "*"))
	ok(t, err)
	if len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
	// A damaged one is replaced.
	ok(t, os.WriteFile(filepath.Join(path, saltFile), []byte("short"), 0o600))
	again, err := open(t, path).Sum([]byte("value"))
	ok(t, err)
	if again == sums[0] {
		t.Error("a damaged secret is used")
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := open(t, path)
	sum, err := d.Sum([]byte("hunter2"))
	ok(t, err)
	want := Step{
		Key: key(1), Content: key(2), Operation: "run", Stage: "app", Number: 3, Below: "sha256:a", Base: "busybox", BaseDigest: "sha256:b",
		Parts: map[string]Sum{"env PASSWORD": sum}, Done: time.Now().UTC(),
	}
	ok(t, d.Put(want))
	later := want
	later.Key, later.Number = key(2), 4
	ok(t, d.Put(later))
	again := want
	again.Number = 5
	ok(t, d.Put(again))
	add := func(text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(path, stepsFile), os.O_APPEND|os.O_WRONLY, 0)
		ok(t, err)
		_, err = f.WriteString(text)
		ok(t, errors.Join(err, f.Close()))
	}
	for _, text := range []string{"{\n", "\n", `{"Version":0,"Key":"` + key(3) + "\"}\n", `{"Version":1,"Key":"../x"}` + "\n", `{"Version":1,"Key":"` + key(4) + `","Content":"../../x"}` + "\n", `{"Version":1`} {
		add(text)
	}
	again.Version, later.Version = version, version
	got, err := open(t, path).All()
	ok(t, err)
	if !reflect.DeepEqual(got, []Step{later, again}) {
		t.Errorf("got %+v, want %+v", got, []Step{later, again})
	}
	text, err := os.ReadFile(filepath.Join(path, stepsFile))
	ok(t, err)
	if bytes.Contains(text, []byte("hunter2")) {
		t.Errorf("a value is kept: %s", text)
	}
	if err := d.Put(Step{Key: "../escape"}); err == nil {
		t.Error("any key is taken")
	}
}

func TestListings(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	files := []File{
		{Path: "a/b", Mode: 0o100644}, {Path: "a/bc", Mode: 0o100755, Owned: true, UID: 1000, GID: 1 << 31}, {Path: "", Mode: 0o040755}, {Path: "a/\xff\n", Mode: 0o120777},
	}
	first := listing(d, key(1), files...)
	ok(t, d.PutListing(first))
	second := listing(d, key(2), File{Path: "other"})
	ok(t, d.PutListing(second))
	ok(t, d.PutParts(key(3), []string{key(1), key(2)}))
	ok(t, d.PutParts(key(4), []string{key(1), key(9)}))
	var none *Listing
	none.Begin()
	none.Add(File{}, "")
	none.End(key(5))
	ok(t, d.PutListing(none))
	for content, want := range map[string][]File{key(1): first.Files(), key(2): second.Files(), key(3): append(append([]File{}, first.Files()...), second.Files()...)} {
		if got, found := d.Files(content); !found || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v, want %v", content, got, found, want)
		}
	}
	for _, content := range []string{key(4), key(5), key(6), "", "../x"} {
		if _, found := d.Files(content); found {
			t.Errorf("%q has files", content)
		}
	}
	// What is damaged is none.
	name := filepath.Join(d.root.Name(), key(1)+filesEnd)
	whole, err := os.ReadFile(name)
	ok(t, err)
	for _, damaged := range [][]byte{whole[:len(whole)-1], append(bytes.Clone(whole[:len(whole)-1]), whole[len(whole)-1]+1), []byte("other"), nil} {
		ok(t, os.WriteFile(name, damaged, 0o600))
		if _, found := d.Files(key(1)); found {
			t.Errorf("%q has files", damaged)
		}
	}
}

// What is too much is not kept, and what was collected of a walk that did not end neither.
func TestBounds(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	l := d.NewListing()
	l.Begin()
	for range maxFiles + 1 {
		l.Add(File{Path: "f"}, "")
	}
	l.End(key(1))
	ok(t, d.PutListing(l))
	if _, found := d.Files(key(1)); found || l.Content() != "" {
		t.Error("a listing has no bounds")
	}
	l.Begin()
	l.Add(File{Path: "f"}, "")
	if l.Content() != "" {
		t.Error("a listing is complete before its end")
	}
	if err := d.Put(Step{Key: key(2), Stage: strings.Repeat("a", maxStep)}); err != nil {
		t.Error(err)
	}
	if all, err := d.All(); err != nil || len(all) != 0 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestTrim(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := open(t, path)
	_, err := d.Sum(nil)
	ok(t, err)
	for i := range 10 {
		name := filepath.Join(path, key(i)+filesEnd)
		ok(t, os.WriteFile(name, make([]byte, 10), 0o600))
		ok(t, os.Chtimes(name, time.Unix(int64(i), 0), time.Unix(int64(i), 0)))
	}
	left := func() (n int) {
		for i := range 10 {
			if _, err := os.Stat(filepath.Join(path, key(i)+filesEnd)); err == nil {
				n++
			} else if n > 0 {
				t.Error("the newest went first")
			}
		}
		return n
	}
	for _, step := range []struct {
		bytes int64
		files int
		want  int
	}{{1000, 10, 10}, {99, 10, 4}, {1000, 3, 1}} {
		ok(t, d.trimmed(step.bytes, step.files))
		if got := left(); got != step.want {
			t.Errorf("%+v: %d are left", step, got)
		}
	}
	if _, err := os.Stat(filepath.Join(path, saltFile)); err != nil {
		t.Error(err)
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d := open(t, path)
	for i := range 5 {
		ok(t, d.PutListing(listing(d, key(100+i), File{Path: "f"})))
	}
	ok(t, d.PutParts(key(200), []string{key(102), key(103)}))
	for i, content := range []string{key(100), key(101), key(200), ""} {
		ok(t, d.Put(Step{Key: key(i), Content: content}))
	}
	other := open(t, path)
	ok(t, other.Put(Step{Key: key(1)}))
	ok(t, os.WriteFile(filepath.Join(path, "temporary.1"), nil, 0o600))
	before, err := d.names()
	ok(t, err)
	ok(t, d.Keep(time.Now().Add(-time.Hour), func(string) bool { return true }))
	if after, err := d.names(); err != nil || len(after) != len(before) {
		t.Errorf("of files that were just written %d of %d are left, %v", len(after), len(before), err)
	}
	ok(t, d.Keep(time.Now().Add(time.Hour), func(k string) bool { return k != key(1) }))
	names, err := d.names()
	ok(t, err)
	got := map[string]bool{}
	for _, name := range names {
		got[name] = true
	}
	want := map[string]bool{saltFile: true, stepsFile: true}
	for _, n := range []int{100, 102, 103, 200} {
		want[key(n)+filesEnd] = true
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	// What is added after that, by who had the file open before too, is there.
	ok(t, other.Put(Step{Key: key(5)}))
	all, err := d.All()
	ok(t, err)
	var keys []string
	for _, s := range all {
		keys = append(keys, s.Key)
	}
	if !slices.Equal(keys, []string{key(0), key(2), key(3), key(5)}) {
		t.Errorf("left are %q", keys)
	}
}

// The file of the steps does not grow for ever: the later half is kept.
func TestManySteps(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	const each = maxStep / 2
	n := mostSteps/each + 3
	for i := range n {
		ok(t, d.Put(Step{Key: key(i), Stage: strings.Repeat("a", each)}))
	}
	all, err := d.All()
	ok(t, err)
	if len(all) < n/3 || len(all) > 2*n/3 || all[len(all)-1].Key != key(n-1) {
		t.Errorf("%d of %d are left", len(all), n)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 0, 1})
	f.Add(encodeFiles([]File{{Path: "a/b", Mode: 0o100644, Content: Sum{1}}, {Path: "a/c", Owned: true, UID: 5, Attributes: Sum{2}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := decodeFiles(data)
		if err != nil {
			return
		}
		again, err := decodeFiles(encodeFiles(files))
		if err != nil || !reflect.DeepEqual(again, files) {
			t.Errorf("%v became %v, %v", files, again, err)
		}
	})
}
