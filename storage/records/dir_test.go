package records_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/identity"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/records"
	. "github.com/oakum-build/oakum/storage/records/recordstest"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	t.Run("Dir", func(t *testing.T) {
		Run(t, func(t *testing.T) records.Records { return open(t, t.TempDir()) })
	})
	t.Run("Memory", func(t *testing.T) {
		Run(t, func(*testing.T) records.Records { return &records.Memory{} })
	})
}

func open(t testing.TB, path string) *records.Dir {
	t.Helper()
	d, err := records.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// The chain ID is that of the OCI specification.
func TestChainID(t *testing.T) {
	t.Parallel()
	chain := digest.Digest("")
	for n := range 5 {
		diffs := make([]digest.Digest, n+1)
		for i := range diffs {
			diffs[i] = Digest(i)
		}
		chain = records.ChainID(chain, Digest(n))
		if want := identity.ChainID(diffs); chain != want {
			t.Errorf("%d layers: %s, want %s", n+1, chain, want)
		}
		if records.ChainID(chain, "") != chain {
			t.Error("no layer gives another chain")
		}
	}
}

// written is the file that a record has, and where it is.
func written(t testing.TB, r records.Record) (dir string, text string) {
	t.Helper()
	dir = t.TempDir()
	if err := open(t, dir).Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, r.Key))
	if err != nil {
		t.Fatal(err)
	}
	return dir, string(data)
}

// A file that is damaged in any way gives the records that are whole, and nothing else.
func TestDamaged(t *testing.T) {
	t.Parallel()
	r := Record(Hex(1), Hex(7), Digest(8), 123456789)
	dir, line := written(t, r)
	d := open(t, dir)
	check := func(name, text string, want ...records.Record) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, r.Key), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Get(t.Context(), r.Key); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q gives %+v (%v)", name, text, got, err)
		}
	}
	check("as written", line, r)
	for n := range len(line) - 1 {
		check("cut short", line[:n])
	}
	check("without its end", line[:len(line)-1], r)
	for i := range line {
		bad := []byte(line)
		if bad[i] ^= 1; bad[i] != '\n' && line[i] != '\n' {
			check("a bit", string(bad))
		}
	}
	check("among others", "x\n\n\x00\xff\n"+line+"y", r)
	check("of another version", "2"+line[1:])
	check("of the first format", "- "+Hex(1)+" -\n")
	check("with more", strings.TrimSuffix(line, "\n")+" x\n")
	check("with a return", strings.TrimSuffix(line, "\n")+"\r\n")
	_, other := written(t, Record(Hex(2), Hex(7), Digest(8), 123456789))
	check("of another key", other)
	check("many lines", strings.Repeat("x\n", 5000)+line, r)
	check("too large", strings.Repeat("x", 100000)+"\n"+line)
	check("one line without end", strings.Repeat("x", 100000))
	if err := d.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Get(t.Context(), r.Key); err != nil || !slices.Equal(got, []records.Record{r}) {
		t.Errorf("put into a file that is too large: %+v, %v", got, err)
	}
	// What a crash cut short does not spoil what comes after it.
	check("before more", line[:50])
	if err := d.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Get(t.Context(), r.Key); err != nil || !slices.Equal(got, []records.Record{r}) {
		t.Errorf("put after a line that was cut short: %+v, %v", got, err)
	}
}

// A key's place may be taken by something that is no file of ours.
func TestNotAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	outside := filepath.Join(t.TempDir(), "f")
	_, line := written(t, Record(Hex(1), "", "", 1))
	if err := os.WriteFile(outside, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, Hex(1))); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, Hex(2)), 0o700); err != nil {
		t.Fatal(err)
	}
	good := Record(Hex(3), "", "", 3)
	if err := d.Put(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{Hex(1), Hex(2)} {
		if got, err := d.Get(t.Context(), key); len(got) > 0 || err == nil {
			t.Errorf("got %+v, %v", got, err)
		}
		if err := d.Put(t.Context(), Record(key, "", "", 1)); err == nil {
			t.Error("put into what is no file")
		}
	}
	var listed []records.Record
	failed := 0
	for r, err := range d.List(t.Context()) {
		if err != nil {
			failed++
			continue
		}
		listed = append(listed, r)
	}
	if !slices.Equal(listed, []records.Record{good}) || failed != 2 {
		t.Errorf("listed %+v, with %d errors", listed, failed)
	}
	if err := d.Keep(func(records.Record) bool { return true }); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != Hex(3) {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	for i := range 4 {
		for n := range 3 {
			if err := d.Put(t.Context(), Record(Hex(i), Hex(n), "", 10*i+n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range map[string]string{Hex(9): "- " + Hex(1) + "\n", Hex(1) + ".12": "", "x": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := d.Keep(func(r records.Record) bool { return r.Key == Hex(0) || r.Key == Hex(1) && r.Content == Hex(1) })
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left %v, %v", left, err)
	}
	for i, want := range [][]string{{Hex(2), Hex(1), Hex(0)}, {Hex(1)}, nil, nil} {
		var got []string
		of, err := d.Get(t.Context(), Hex(i))
		for _, r := range of {
			got = append(got, r.Content)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("key %d: %q, want %q (%v)", i, got, want, err)
		}
	}
}

// Whatever is in a file, what is given of it is a record that stands in it.
func FuzzDir(f *testing.F) {
	for _, r := range []records.Record{Record(Hex(1), "", "", 1), Record(Hex(1), Hex(2), Digest(3), 4), {Key: Hex(1)}} {
		_, text := written(f, r)
		f.Add([]byte(text))
		f.Add([]byte(text + text[:40]))
		f.Add([]byte("x\n" + text))
	}
	f.Add([]byte("- " + Hex(1) + "\n"))
	dir, again := f.TempDir(), f.TempDir()
	d, other := open(f, dir), open(f, again)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, Hex(1)), data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := d.Get(t.Context(), Hex(1))
		if err != nil || len(got) > records.MaxResults {
			t.Fatalf("%d records, %v", len(got), err)
		}
		for _, r := range got {
			if err := other.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(again, Hex(1)))
			if err != nil || os.Remove(filepath.Join(again, Hex(1))) != nil || !bytes.Contains(data, bytes.TrimSuffix(text, []byte("\n"))) {
				t.Errorf("%q gives %+v (%v)", data, r, err)
			}
		}
	})
}
