package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	fakeregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/oakum-build/oakum/builder/cache/gha/ghatest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"oakum": main})
}

// TestScript types commands as a user does. Each script has a store and a home of
// its own, and finds a static busybox in its directory to make images of.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUpScript,
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %s", name)
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":       exits,
			"nothingleft": nothingLeft,
		},
	})
}

// setUpScript keeps the script away from the user's own files, and copies busybox.
func setUpScript(env *testscript.Env) error {
	for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		dir := filepath.Join(env.WorkDir, ".user", strings.ToLower(name))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		env.Setenv(name, dir)
	}
	conf := filepath.Join(env.WorkDir, ".user", "storage.conf")
	store := fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrootless_storage_path = %[1]q\nrunroot = %q\n",
		storeDir(env.WorkDir), filepath.Join(env.WorkDir, ".user", "runroot"))
	if err := os.WriteFile(conf, []byte(store), 0o600); err != nil {
		return err
	}
	env.Setenv("CONTAINERS_STORAGE_CONF", conf)
	env.Setenv("GOARCH", runtime.GOARCH)
	env.Setenv("BUILDKIT_PROGRESS", "")
	env.Setenv("GORACE", "atexit_sleep_ms=0 halt_on_error=1") // else each process lasts a second longer
	env.Setenv("REGISTRY", serve(env, fakeregistry.New(fakeregistry.Logger(log.New(io.Discard, "", 0)))))
	env.Setenv("PRIVATE_REGISTRY", serve(env, withPassword(fakeregistry.New(fakeregistry.Logger(log.New(io.Discard, "", 0))))))
	env.Setenv("OCI_REGISTRY", serve(env, ociOnly(fakeregistry.New(fakeregistry.Logger(log.New(io.Discard, "", 0))))))
	env.Setenv("ACTIONS_RESULTS_URL", ghatest.New(env.T().(testing.TB)).URL)
	env.Setenv("ACTIONS_RUNTIME_TOKEN", "")
	env.Setenv("ACTIONS_CACHE_SERVICE_V2", "")
	return copyBusybox(filepath.Join(env.WorkDir, "busybox"))
}

// serve starts a registry for the time of the script and gives its address.
func serve(env *testscript.Env, handler http.Handler) string {
	server := httptest.NewServer(handler)
	env.Defer(server.Close)
	return server.Listener.Addr().String()
}

// withPassword lets only the user "me" with the password "secret" in.
func withPassword(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ociOnly refuses manifests in Docker's format as a registry does that knows OCI's alone.
func ociOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.Header.Get("Content-Type"), "docker") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"errors": [{"code": "MANIFEST_INVALID", "message": "manifest invalid"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func storeDir(work string) string { return filepath.Join(work, ".user", "store") }

func copyBusybox(dest string) error {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w; hack/deps installs it", err)
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(dest, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// exits is "exits CODE PROGRAM ARGUMENT...": exec with an exact exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENT...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// nothingLeft checks that no process of oakum is left, for each has a mount below
// the script's directory, and no layer half made.
func nothingLeft(ts *testscript.TestScript, neg bool, args []string) {
	work := ts.Getenv("WORK")
	namespaces, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	ts.Check(err)
	for _, path := range namespaces {
		mounts, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(mounts), work+"/") {
			ts.Fatalf("%s has a mount below %s", path, work)
		}
	}
	staged, err := filepath.Glob(filepath.Join(storeDir(work), "overlay", "staging", "*"))
	ts.Check(err)
	if len(staged) > 0 {
		ts.Fatalf("staging directories are left: %q", staged)
	}
}
