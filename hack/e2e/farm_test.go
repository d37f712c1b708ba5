//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/hack/baseimage"
)

// A farm is machines that have nothing in common but a registry.
type farm struct {
	host     string // the registry
	image    string // that they make together
	machines []*testHome
}

func newFarm(t *testing.T, machines int) farm {
	t.Helper()
	s := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	f := farm{host: host, image: host + "/farm/app:1"}
	for range machines {
		h := newHome(t)
		h.write("config/containers/registries.conf", f.registries())
		f.machines = append(f.machines, h)
	}
	return f
}

// registries is the registries.conf of a machine.
func (f farm) registries() string {
	return baseimage.RegistriesConf(registry) + fmt.Sprintf("\n[[registry]]\nlocation = %q\ninsecure = true\n", f.host)
}

// job runs a script of examples/farm on a machine.
func (f farm) job(machine int, script string, env ...string) error {
	h := f.machines[machine]
	cmd := h.command("sh", filepath.Join(checkout, "examples/farm", script))
	cmd.Env = append(cmd.Env, append(env, "PATH="+filepath.Dir(oakum)+":/usr/bin:/bin", "IMAGE="+f.image, "CONTEXT="+filepath.Join(checkout, "examples/farm"))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s on machine %d: %w\n%s", script, machine, err, out)
	}
	return nil
}

// TestFarm runs the scripts of examples/farm with three stores as three machines: one makes what all
// platforms share, each builds for one, and one makes the index, to which no layer comes.
func TestFarm(t *testing.T) {
	f := newFarm(t, 3)
	platforms := []string{"linux/amd64", "linux/arm64", "linux/arm/v7"}
	if err := f.job(0, "stage.sh"); err != nil {
		t.Fatal(err)
	}
	failed := make([]error, len(platforms))
	var group sync.WaitGroup
	for i := range platforms {
		env := []string{"PLATFORMS=" + strings.Join(platforms, " "), "JOB_COMPLETION_INDEX=" + strconv.Itoa(i)} // as in an indexed Job
		if i == 2 {
			env = []string{"PLATFORM=" + platforms[i]} // as in a matrix
		}
		group.Go(func() { failed[i] = f.job(i, "build.sh", env...) })
	}
	group.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	joining := f.machines[2]
	before := joining.run(oakum, "images", "-aq")
	if err := f.job(2, "index.sh", "PLATFORMS="+strings.Join(platforms, " ")); err != nil {
		t.Fatal(err)
	}
	if after := joining.run(oakum, "images", "-aq"); after != before {
		t.Errorf("the machine that made the index had the images\n%sand has\n%s", before, after)
	}

	var index imgspec.Index
	if err := json.Unmarshal([]byte(joining.run("skopeo", "inspect", "--tls-verify=false", "--raw", "docker://"+f.image)), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != len(platforms) || index.MediaType != imgspec.MediaTypeImageIndex {
		t.Fatalf("got %+v", index)
	}
	notes := map[string]bool{}
	for _, platform := range platforms {
		away := newHome(t)
		away.write("config/containers/registries.conf", f.registries())
		away.run(oakum, "pull", "--quiet", "--platform", platform, f.image)
		if got := strings.TrimSpace(away.run(oakum, "inspect", "--format", "{{index .Config.Labels \"built.for\"}}", f.image)); got != platform {
			t.Errorf("the image for %s was built for %s", platform, got)
		}
		notes[strings.TrimSpace(away.run(oakum, "inspect", "--format", "{{json .RootFS.Layers}}", f.image))] = true
	}
	if len(notes) != 1 {
		t.Errorf("what all platforms share was made %d times: %v", len(notes), notes)
	}
}
