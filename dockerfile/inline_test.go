package dockerfile

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestInlineFS(t *testing.T) {
	files := inlineFS{{"b", "bb"}, {"a", ""}, {"b", "again"}}
	if err := fstest.TestFS(files, "a", "b"); err != nil {
		t.Error(err)
	}
	if data, err := fs.ReadFile(files, "b"); err != nil || string(data) != "again" {
		t.Errorf("b holds %q, %v; want the last of that name", data, err)
	}
}
