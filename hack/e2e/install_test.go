//go:build linux

package e2e

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/oakum-build/oakum"

// A goModule is this checkout as a version of the module that a proxy has.
type goModule struct {
	version string
	env     []string // of the go command: no tag, no cgo, and modules from the proxy first
}

// serveModule makes a proxy of the checkout beside those of this machine (Go Modules Reference, "GOPROXY
// protocol"). The version is of the content, since the go command keeps what it has had once; what it
// keeps of this one is taken away.
func serveModule(t *testing.T) goModule {
	t.Helper()
	proxy := t.TempDir()
	m := goModule{version: "v0.0.1-check-" + moduleSum(t)}
	mod, err := os.ReadFile(filepath.Join(checkout, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	versions := filepath.Join(proxy, module, "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"list":              []byte(m.version),
		m.version + ".info": fmt.Appendf(nil, `{"Version": %q, "Time": "2020-01-01T00:00:00Z"}`, m.version),
		m.version + ".mod":  mod,
		m.version + ".zip":  moduleZip(t, module+"@"+m.version),
	} {
		if err := os.WriteFile(filepath.Join(versions, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	settings, err := exec.Command("go", "env", "GOPROXY", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	given, cache, _ := strings.Cut(strings.TrimSpace(string(settings)), "\n")
	// The sums of all other modules were compared when they were fetched for the checkout.
	m.env = append(os.Environ(), "GOPROXY=file://"+proxy+","+given, "GOSUMDB=off", "GOFLAGS=-trimpath -modcacherw", "GOWORK=off", "CGO_ENABLED=0")
	t.Cleanup(func() {
		kept, _ := filepath.Glob(filepath.Join(cache, "cache/download", module, "@v", m.version+".*"))
		for _, path := range append(kept, filepath.Join(cache, module+"@"+m.version)) {
			if err := os.RemoveAll(path); err != nil {
				t.Error(err)
			}
		}
	})
	return m
}

// moduleFiles calls each for every file that a version of the module has.
func moduleFiles(t *testing.T, each func(name string, content []byte) error) {
	t.Helper()
	err := filepath.WalkDir(checkout, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == checkout {
			return err
		}
		name, _ := filepath.Rel(checkout, path) // it is below
		if entry.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if name == ".git" || name == ".cache" || name == "bin" || err == nil {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return each(name, content)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func moduleSum(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	moduleFiles(t, func(name string, content []byte) error {
		fmt.Fprintf(sum, "%s %d\n", name, len(content))
		_, err := sum.Write(content)
		return err
	})
	return fmt.Sprintf("%x", sum.Sum(nil))[:12]
}

func moduleZip(t *testing.T, prefix string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := zip.NewWriter(&buffer)
	moduleFiles(t, func(name string, content []byte) error {
		file, err := w.Create(prefix + "/" + name)
		if err == nil {
			_, err = file.Write(content)
		}
		return err
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// command is one of the go command, in a directory.
func (m goModule) command(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, append(m.env, "GOBIN="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
}

// TestInstall installs the command by the name of its module, as users do, without a tag or a C compiler. It builds
// images, and refuses those that would have to be signed. What others' programs are built like is shown by TestExamples.
func TestInstall(t *testing.T) {
	m, dir := serveModule(t), t.TempDir()
	m.command(t, dir, "install", module+"/cmd/oakum@"+m.version)
	installed := filepath.Join(dir, "oakum")
	built, err := buildinfo.ReadFile(installed)
	if err != nil {
		t.Fatal(err)
	}
	if built.Main.Path != module || built.Main.Version != m.version {
		t.Errorf("what was installed is %s %s", built.Main.Path, built.Main.Version)
	}
	for _, setting := range built.Settings {
		if setting.Key == "-tags" || setting.Key == "CGO_ENABLED" && setting.Value != "0" {
			t.Errorf("it was built with %s=%s", setting.Key, setting.Value)
		}
	}
	h := newHome(t)
	context := h.context("installed", "FROM busybox\nRUN echo made >/made\nCMD [\"cat\", \"/made\"]\n")
	h.run(installed, "build", "-t", "installed", context)
	if out := h.run("podman", "run", "--rm", "--network", "none", "localhost/installed"); out != "made\n" {
		t.Errorf("the image writes %q", out)
	}
	if out := h.run(installed, "version"); !strings.Contains(out, m.version) {
		t.Errorf("oakum version writes %q", out)
	}
	h.demandSignatures(installed)
}

// demandSignatures pulls by policies that demand signatures: where the command checks none, that is refused, and
// what they are not for is pulled.
func (h *testHome) demandSignatures(unsigning string) {
	h.t.Helper()
	h.run(unsigning, "rmi", "--all", "--force")
	policies := map[string]string{}
	for name, scope := range map[string]string{"busybox": registry, "others": "other.example"} {
		policies[name] = h.write(name+".json", fmt.Sprintf(
			`{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {%q: [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nonexistent"}]}}}`, scope))
	}
	ref := registry + "/library/busybox:latest"
	_, stderr, err := h.try(unsigning, "pull", "--signature-policy", policies["busybox"], ref)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 4 || !strings.Contains(stderr, "builder/signatures") || !strings.Contains(stderr, "-tags containers_image_openpgp") {
		h.t.Errorf("pull by a policy that demands signatures: %v\n%s", err, stderr)
	}
	if _, stderr, err = h.try(oakum, "pull", "--signature-policy", policies["busybox"], ref); err == nil || !strings.Contains(stderr, "signature policy does not allow it") {
		h.t.Errorf("the same by a command that checks them: %v\n%s", err, stderr)
	}
	h.run(unsigning, "pull", "--signature-policy", policies["others"], ref)
}
