// Command ci checks the CI jobs that it is given, by the types or the linter of the system that each
// is for, and writes what they run as JSON: a list of Job. It is a module of its own, so that these
// libraries are not oakum's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rhysd/actionlint"
	tekton "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// A Job is what a file has a container run.
type Job struct {
	File string
	Args []string
	Env  map[string]string
}

func main() {
	var jobs []Job
	var errs []error
	for _, file := range os.Args[1:] {
		content, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		job, err := read(filepath.Base(file), content)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
		job.File = filepath.Base(file)
		jobs = append(jobs, job)
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	out, err := json.Marshal(jobs)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(out))
}

// read reads a file by its name.
func read(name string, content []byte) (Job, error) {
	switch name {
	case "gitlab-ci.yml":
		return gitlab(content)
	case "github-workflow.yml":
		return github(content)
	case "github-matrix.yml":
		return Job{}, lint(content)
	case "tekton-task.yaml":
		return task(content)
	case "tekton-pipeline.yaml":
		return Job{}, pipeline(content)
	case "pod.yaml":
		var pod core.Pod
		err := yaml.UnmarshalStrict(content, &pod)
		return container(pod.Spec), errors.Join(err, standard(api.LevelBaseline, pod.ObjectMeta.Name, pod.Spec))
	case "kubernetes-build.yaml", "kubernetes-index.yaml":
		return kubernetes(content, api.LevelBaseline)
	case "kubernetes-restricted.yaml":
		return kubernetes(content, api.LevelRestricted)
	case "kubernetes-user-namespace.yaml":
		return kubernetes(content, api.LevelPrivileged)
	}
	return Job{}, errors.New("nobody knows what system it is for")
}

// shell is what runs a script.
func shell(lines ...string) []string { return []string{"sh", "-e", "-c", strings.Join(lines, "\n")} }

// gitlab reads the job build, in which no key may be that is not among those here.
func gitlab(content []byte) (Job, error) {
	var file struct {
		Build struct {
			Stage  string   `json:"stage"`
			Image  string   `json:"image"`
			Script []string `json:"script"`
		} `json:"build"`
	}
	if err := yaml.UnmarshalStrict(content, &file); err != nil {
		return Job{}, err
	}
	if file.Build.Image == "" || len(file.Build.Script) == 0 {
		return Job{}, errors.New("the job has no image or no script")
	}
	return Job{Args: shell(file.Build.Script...)}, nil
}

func github(content []byte) (Job, error) {
	if err := lint(content); err != nil {
		return Job{}, err
	}
	workflow, _ := actionlint.Parse(content)
	job := Job{Env: map[string]string{}}
	var lines []string
	build := workflow.Jobs["build"]
	for name, variable := range build.Env.Vars {
		job.Env[strings.ToUpper(name)] = variable.Value.Value
	}
	for _, step := range build.Steps {
		if run, ok := step.Exec.(*actionlint.ExecRun); ok {
			lines = append(lines, run.Run.Value)
		}
	}
	job.Args = shell(lines...)
	return job, nil
}

// lint is an error where a workflow of GitHub's is not right.
func lint(content []byte) error {
	linter, err := actionlint.NewLinter(os.Stderr, &actionlint.LinterOptions{})
	if err != nil {
		return err
	}
	_, problems := actionlint.Parse(content)
	found, err := linter.Lint("github-workflow.yml", content, nil)
	for _, problem := range append(problems, found...) {
		err = errors.Join(err, problem)
	}
	return err
}

func pipeline(content []byte) error {
	var pipeline tekton.Pipeline
	if err := yaml.UnmarshalStrict(content, &pipeline); err != nil {
		return err
	}
	ctx := context.Background()
	pipeline.SetDefaults(ctx)
	if err := pipeline.Validate(ctx); err != nil {
		return err
	}
	return nil
}

func task(content []byte) (Job, error) {
	var task tekton.Task
	if err := yaml.UnmarshalStrict(content, &task); err != nil {
		return Job{}, err
	}
	ctx := context.Background()
	task.SetDefaults(ctx)
	if err := task.Validate(ctx); err != nil {
		return Job{}, err
	}
	step := task.Spec.Steps[0]
	return Job{Args: shell(step.Script), Env: variables(step.Env)}, nil
}

// kubernetes reads a Job whose pod fits a pod security standard.
func kubernetes(content []byte, level api.Level) (Job, error) {
	var job batch.Job
	err := yaml.UnmarshalStrict(content, &job)
	spec := job.Spec.Template.Spec
	return container(spec), errors.Join(err, standard(level, job.Name, spec))
}

// standard is an error where a pod does not fit a security standard.
func standard(level api.Level, name string, spec core.PodSpec) error {
	checks, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		return err
	}
	var errs []error
	for _, result := range checks.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &meta.ObjectMeta{}, &spec) {
		if !result.Allowed {
			errs = append(errs, fmt.Errorf("pod %s is not %s: %s: %s", name, level, result.ForbiddenReason, result.ForbiddenDetail))
		}
	}
	return errors.Join(errs...)
}

// container is what the one container of a pod runs.
func container(spec core.PodSpec) Job {
	if len(spec.Containers) != 1 {
		return Job{}
	}
	c := spec.Containers[0]
	return Job{Args: append(c.Command, c.Args...), Env: variables(c.Env)}
}

func variables(list []core.EnvVar) map[string]string {
	all := map[string]string{}
	for _, variable := range list {
		all[variable.Name] = variable.Value
	}
	return all
}
