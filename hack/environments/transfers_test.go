//go:build linux

package main

import (
	"strings"
	"testing"
)

// TestTransfers gives images names, pushes and pulls them, and writes and reads archives of all kinds.
func TestTransfers(t *testing.T) {
	for _, name := range []string{"no-subids", "docker", "restricted"} {
		t.Run(name, func(t *testing.T) {
			v := enter(t, name)
			before := v.look()
			digest, _ := v.build("files")
			there := v.registry() + "/environments/" + name + ":1"
			v.run("oakum", "tag", "localhost/files", there)
			pushed := v.run("oakum", "push", "--quiet", there)
			archives := v.temp("archives")
			v.run("mkdir", archives)
			outputs := []string{"oci-archive:" + archives + "/oci.tar", "docker-archive:" + archives + "/docker.tar:" + there, "oci:" + archives + "/layout:1", "dir:" + archives + "/dir"}
			for _, output := range outputs {
				v.run("oakum", "push", "--quiet", "localhost/files", output)
			}
			v.run("oakum", "build", "--output", "type=oci,dest="+archives+"/output.tar", v.contexts+"/files")
			v.run("oakum", "rmi", "--force", there, "localhost/files")
			id := v.run("oakum", "pull", "--quiet", there)
			if got := v.run("oakum", "inspect", "--format", "{{.Digest}}", there); got != pushed && got != digest {
				t.Errorf("%s: what was pulled is %s, was pushed as %s and made as %s", name, got, pushed, digest)
			}
			for _, output := range append(outputs, "oci-archive:"+archives+"/output.tar") {
				output = strings.TrimSuffix(output, ":"+there)
				if got := v.run("oakum", "pull", "--quiet", output); strings.HasSuffix(output, "output.tar") == (got == id) {
					t.Errorf("%s: %s holds %s, and the registry %s", name, output, got, id)
				}
			}
			v.run("oakum", "build", "--push", "--quiet", "--tag", there, v.contexts+"/files")
			v.run("oakum", "image", "prune", "--force")
			v.run("oakum", "rmi", "--all", "--force")
			if left := v.run("oakum", "images", "--quiet"); left != "" {
				t.Errorf("%s: images are left: %s", name, left)
			}
			v.run("rm", "-r", archives)
			v.checkRemains(before)
		})
	}
}
