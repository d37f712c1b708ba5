//go:build linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A job is what a file of examples/ci has a container run, as hack/ci gives it.
type job struct {
	File string
	Args []string
	Env  map[string]string
}

// jobPlaces is the environment that each file is for, and the context that it builds there.
var jobPlaces = map[string][2]string{
	"gitlab-ci.yml":                  {"docker", "commands"},
	"github-workflow.yml":            {"docker", "commands"},
	"tekton-task.yaml":               {"docker", "commands"},
	"Jenkinsfile":                    {"docker", "commands"},
	"docker-run.sh":                  {"docker-volume", "commands"},
	"kubernetes-restricted.yaml":     {"restricted", "files"},
	"kubernetes-user-namespace.yaml": {"kubernetes-users", "commands"},
}

// TestJobs checks the files of examples/ci and examples/farm by the libraries of the systems that they are for, and runs what
// those of examples/ci run, against the registry of the tests.
func TestJobs(t *testing.T) {
	for _, j := range readJobs(t) {
		where, ok := jobPlaces[j.File]
		if !ok {
			continue // the agent's pod, of which the Jenkinsfile says what it runs, or a file of the farm
		}
		t.Run(j.File, func(t *testing.T) {
			v := enter(t, where[0])
			image := v.registry() + "/jobs/" + strings.ToLower(j.File) + ":1"
			values := map[string]string{
				"IMAGE": image, "CONTEXT": v.contexts + "/" + where[1], "TOKEN": "secret", "GITHUB_ACTOR": "somebody", "REGISTRY": v.registry(),
				"CI_REGISTRY": v.registry(), "CI_REGISTRY_USER": "somebody", "CI_REGISTRY_PASSWORD": "secret", "CI_COMMIT_SHORT_SHA": "1", "CI_COMMIT_REF_PROTECTED": "true",
				"CI_REGISTRY_IMAGE": strings.TrimSuffix(image, ":1"), "CI_PROJECT_DIR": v.contexts + "/" + where[1], "DIGEST_FILE": v.temp("digest"),
			}
			args := []string{"env"}
			for name, value := range values {
				args = append(args, name+"="+value)
			}
			for _, arg := range j.Args {
				// As Kubernetes does it.
				arg = strings.NewReplacer("$(IMAGE)", image, "$(CONTEXT)", values["CONTEXT"]).Replace(arg)
				args = append(args, arg)
			}
			v.run(args...)
			v.run("oakum", "rmi", "--force", image)
			v.run("oakum", "pull", "--quiet", image)
		})
	}
}

func readJobs(t *testing.T) []job {
	t.Helper()
	dir := filepath.Join(shared.checkout, "examples/ci")
	files, err := filepath.Glob(dir + "/*.y*ml")
	if err != nil {
		t.Fatal(err)
	}
	farm, err := filepath.Glob(shared.checkout + "/examples/farm/*.y*ml") // whose scripts run in hack/e2e
	if err != nil || len(farm) == 0 {
		t.Fatalf("%q, %v", farm, err)
	}
	files = append(files, farm...)
	check := exec.Command("go", append([]string{"run", "-C", shared.checkout + "/hack/ci", "."}, append(files, dir+"/jenkins/pod.yaml")...)...)
	out, err := output(check)
	var jobs []job
	if err == nil {
		err = json.Unmarshal([]byte(out), &jobs)
	}
	if err != nil || len(jobs) != len(files)+1 {
		t.Fatalf("%d jobs: %v", len(jobs), err)
	}
	for file, command := range map[string]*regexp.Regexp{
		"jenkins/Jenkinsfile": regexp.MustCompile(`sh '(.*)'`),
		"docker-run.sh":       regexp.MustCompile(`registry.example/oakum (oakum .*)`),
	} {
		content, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		match := command.FindSubmatch(content)
		if match == nil {
			t.Fatalf("%s runs nothing", file)
		}
		script := strings.NewReplacer(`"$image"`, `"$IMAGE"`, "/context", `"$CONTEXT"`, "\" .", "\" \"$CONTEXT\"").Replace(string(match[1]))
		jobs = append(jobs, job{File: filepath.Base(file), Args: []string{"sh", "-e", "-c", script}})
	}
	return jobs
}
