//go:build linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLibrary has a program with the library in it make an image, the same in each environment. The one that must
// isolate commands is refused where that cannot be done.
func TestLibrary(t *testing.T) {
	program := filepath.Join(shared.dir, "contexts", "embedder")
	compile := exec.Command("go", "build", "-tags=containers_image_openpgp", "-o", program, "./embedder")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := run(compile); err != nil {
		t.Fatal(err)
	}
	var first string
	for _, name := range []string{"user", "no-subids", "docker", "restricted"} {
		t.Run(name, func(t *testing.T) {
			v := enter(t, name)
			before := v.look()
			var r struct{ Level, Digest, Pushed, Pulled, Refused, Command string }
			out := v.run(v.contexts+"/embedder", "busybox:1.36", v.registry()+"/library/made:1")
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want := expectations[name].level
			if r.Level != want || r.Digest == "" || r.Pushed == "" || r.Pulled == "" {
				t.Errorf("%s: %+v", name, r)
			}
			made := r.Digest + " pushed as " + r.Pushed
			if first == "" {
				first = made
			}
			if made != first {
				t.Errorf("%s: the image is %s, and elsewhere %s", name, made, first)
			}
			if refused := want != "full" && want != "reduced"; refused != (r.Refused != "") || (want == "none") != strings.Contains(r.Command, "commands cannot be run here") {
				t.Errorf("%s: isolation was refused with %q, a command with %q", name, r.Refused, r.Command)
			}
			v.checkRemains(before)
		})
	}
}
