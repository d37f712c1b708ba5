package buildertest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/mount"
)

// with runs a script that sees mounts, and gives what it wrote.
func with(t *testing.T, st *builder.Stage, script string, mounts ...builder.Mount) (string, builder.Step, error) {
	t.Helper()
	var out bytes.Buffer
	step, err := st.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", script}, Dir: "/w", Mounts: mounts, Stdout: &out})
	return out.String(), step, err
}

// wrote fails the test unless a command has written that.
func wrote(t *testing.T, want string) func(string, builder.Step, error) builder.Step {
	return func(got string, step builder.Step, err error) builder.Step {
		t.Helper()
		if err != nil || got != want && !step.Cached {
			t.Errorf("wrote %q, %v, want %q", got, err, want)
		}
		return step
	}
}

func testBinds(t *testing.T, s suite) {
	st := s.stage(t, s.Base, builder.StageOptions{})
	done(t)(st.Copy(t.Context(), "/under/f", builder.Bytes("f", []byte("under\n"))))
	other := s.stage(t, s.Base, builder.StageOptions{})
	done(t)(other.Copy(t.Context(), "/o/d/f", builder.Bytes("f", []byte("stage\n"))))
	dir := t.TempDir()
	for name, text := range map[string]string{"f": "dir\n", "no": "ignored\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fsys := builder.FS(fstest.MapFS{"f": {Data: []byte("fs\n"), Mode: 0o644}})
	for want, m := range map[string]builder.Mount{
		"dir\n": {Target: "/under", From: builder.Dir(dir).Ignore("no")}, "stage\n": {Target: "/new/dir", From: other.Path("/o/d")}, "fs\n": {Target: "rel", From: fsys, ReadOnly: true},
	} {
		at := m.Target
		if at == "rel" {
			at = "/w/rel"
		}
		wrote(t, want)(with(t, fork(t, st), "cat "+at+"/f", m))
	}
	wrote(t, "bytes")(with(t, st, "cat /under/f", builder.Mount{Target: "/under/f", From: builder.Bytes("x", []byte("bytes"))}))
	_, _, err := with(t, st, "cat /m/no", builder.Mount{Target: "/m", From: builder.Dir(dir).Ignore("no")})
	exits1(t, err)
	// What is written is thrown away, and what was there is there again.
	wrote(t, "new\n")(with(t, st, "echo new > /under/f; echo x > /under/x; echo made > /made; cat /under/f", builder.Mount{Target: "/under", From: builder.Dir(dir)}))
	_, _, err = with(t, st, "echo x > /under/x", builder.Mount{Target: "/under", From: builder.Dir(dir), ReadOnly: true})
	exits1(t, err)
	for name, want := range map[string]any{"/under/f": "under\n", "/under/x": nil, "/new/dir/f": nil, "/made": "made\n"} {
		holds(t, st, name, want)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(data) != "dir\n" {
		t.Errorf("the source has %q, %v", data, err)
	}
	// Its content counts.
	cached := func() bool {
		return wrote(t, "")(with(t, fork(t, st), "echo a > /a", builder.Mount{Target: "/m", From: builder.Dir(dir).Ignore("no")})).Cached
	}
	if cached() || !cached() {
		t.Error("the step is not found again")
	}
	for name, want := range map[string]bool{"no": true, "f": false} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := cached(); got != want {
			t.Errorf("after a change of %s: cached %t", name, got)
		}
	}
}

func testCaches(t *testing.T, s suite) {
	st := s.stage(t, s.Base, builder.StageOptions{})
	cache := func(target, id string) builder.Mount {
		return builder.Mount{Target: target, Cache: &mount.Cache{ID: id}}
	}
	wrote(t, "")(with(t, st, "echo kept > /c/f; echo x > /x", cache("/c", "")))
	holds(t, st, "/c/f", nil)
	holds(t, st, "/x", "x\n")
	other := s.stage(t, s.Base, builder.StageOptions{})
	wrote(t, "kept\n")(with(t, other, "cat /d/e/f; echo x > /d/t/x", cache("/d/e", "/c"), builder.Mount{Target: "/d/t", Tmpfs: &mount.Tmpfs{}}))
	holds(t, other, "/d/t/x", nil)
	if !wrote(t, "")(with(t, s.stage(t, s.Base, builder.StageOptions{}), "echo kept > /c/f; echo x > /x", cache("/c", ""))).Cached {
		t.Error("the step is not found again")
	}
	_, _, err := with(t, st, "echo lost > /c/f; exit 1", cache("/c", "/c"))
	exits1(t, err)
	wrote(t, "lost\n")(with(t, st, "cat /c/f", cache("/c", "/c")))
	readOnly := cache("/c", "/c")
	readOnly.ReadOnly = true
	_, _, err = with(t, st, "echo x > /c/f", readOnly)
	exits1(t, err)
	first := cache("/c", "first")
	first.From = builder.FS(fstest.MapFS{"f": {Data: []byte("first\n"), Mode: 0o644}})
	wrote(t, "first\n")(with(t, st, "cat /c/f", first))
}

func testMountErrors(t *testing.T, s suite) {
	st := s.stage(t, s.Base, builder.StageOptions{})
	tmpfs := &mount.Tmpfs{}
	for _, mounts := range [][]builder.Mount{
		{{Target: "/m"}}, {{Tmpfs: tmpfs}}, {{Target: "/", Tmpfs: tmpfs}}, {{Target: "/proc/x", Tmpfs: tmpfs}}, {{Target: "a", Tmpfs: tmpfs}, {Target: "/w/a", Tmpfs: tmpfs}},
		{{Target: "/m", Tmpfs: tmpfs, From: builder.Bytes("f", nil)}}, {{Target: "/m", From: builder.Dir(".").Select("a", "b")}}, {{Target: "/m", From: builder.Dir(".").Chown("1")}},
	} {
		_, _, err := with(t, st, "echo", mounts...)
		is(t, err, builder.ErrInvalid)
	}
	_, _, err := with(t, st, "echo", builder.Mount{Target: "/m", From: builder.Dir(t.TempDir()).Select("none")})
	is(t, err, builder.ErrNotFound)
}

func exits1(t *testing.T, err error) {
	t.Helper()
	var exit *builder.ExitError
	if !errors.As(err, &exit) || exit.Code != 1 {
		t.Errorf("got %v, want the status 1", err)
	}
}
