//go:build linux

package storage

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/usage"
)

// elsewhereEnv names a directory for all that TestNothingElsewhere may write.
const elsewhereEnv = "OAKUM_TEST_ELSEWHERE"

// With the driver tree nothing is written but the store and TMPDIR: neither in the home, though that
// could be written to, nor in the place of this user's run-time files.
func TestNothingElsewhere(t *testing.T) {
	ofTree(t)
	if dir := os.Getenv(elsewhereEnv); dir != "" {
		everything(t, dir)
		return
	}
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestNothingElsewhere$", "-test.v")
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // whose places are not in its home
		uid, gid = 4242, 4242 // and who is in no list of users
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", "home", "state", "tmp"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Dir = dir
	cmd.Env = []string{elsewhereEnv + "=" + dir, driverEnv + "=" + DriverTree,
		"HOME=" + filepath.Join(dir, "home"), "XDG_RUNTIME_DIR=" + filepath.Join(dir, "state"), "TMPDIR=" + filepath.Join(dir, "tmp")}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
	var left []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if rel == "store" || rel == "archive" {
			return fs.SkipDir
		}
		left = append(left, rel)
		return err
	})
	if got := strings.Join(left, " "); err != nil || got != ". home state tmp" {
		t.Errorf("there are %s, %v", got, err)
	}
}

// everything does what may need places for files.
func everything(t *testing.T, dir string) {
	f := newFaulty(t)
	s := openIn(t, filepath.Join(dir, "store"))
	commit(t, s, layer(t, s, nil, "f", strings.Repeat("one", 1000)), "app")
	archive := "oci:" + filepath.Join(dir, "archive") + ":app"
	for _, to := range []string{f.host + "/app:1", archive} {
		if _, err := s.Push(t.Context(), "app", to, PushOptions{}, insecure(registry.Access{})); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Remove("app", true, false); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{f.host + "/app:1", archive} {
		if _, err := s.Pull(t.Context(), from, platform.Platform{}, insecure(registry.Access{})); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Find("app")
	if err == nil {
		_, err = s.Prune(t.Context(), usage.Options{})
	}
	if err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
