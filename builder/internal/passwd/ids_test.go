//go:build linux

package passwd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIDMap(t *testing.T) {
	t.Parallel()
	read := func(text string) (IDMap, error) {
		name := filepath.Join(t.TempDir(), "map")
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return readIDMap(name)
	}
	m, err := read("         0       1000          1\n         1     100000      65536\n     70000 200000 5\n")
	if err != nil || m.All() {
		t.Fatalf("%v, %v", m, err)
	}
	for id, want := range map[int]bool{-1: false, 0: true, 1: true, 65536: true, 65537: false, 69999: false, 70004: true, 70005: false} {
		if m.Has(id) != want {
			t.Errorf("%d: %v", id, !want)
		}
	}
	const lacks = "user x: the uid 65537 is not mapped, only 0 to 65536 and 70000 to 70004 are: more subordinate ids are needed in /etc/subuid"
	if err := m.lacks("user x", "uid", 65537, "/etc/subuid"); err.Error() != lacks {
		t.Error(err)
	}
	if all, err := read("0 0 4294967295\n"); err != nil || !all.All() || !all.Has(maxID) {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := read("0 0\n"); err == nil || !strings.Contains(err.Error(), "map") {
		t.Errorf("half a line: %v", err)
	}
}
