//go:build linux

package worker

import (
	"slices"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

func TestEnvironment(t *testing.T) {
	t.Setenv("CI_TOKEN", "secret")
	const path = "PATH=" + defaultPath
	for _, test := range []struct {
		env, uncached []string
		want          []string
	}{
		{nil, nil, []string{path, "HOME=/home"}},
		{[]string{"A=1"}, nil, []string{"A=1", path, "HOME=/home"}},
		{[]string{"A=1", "B=2", "A=3"}, nil, []string{"A=3", "B=2", path, "HOME=/home"}},
		{[]string{"A=1"}, []string{"A=2", "C=3"}, []string{"A=2", "C=3", path, "HOME=/home"}},
		{[]string{"PATH=/p", "HOME=/h"}, nil, []string{"PATH=/p", "HOME=/h"}},
		{[]string{"PATH=", "HOME="}, nil, []string{"PATH=", "HOME="}},
		{[]string{"CI_TOKEN", "*", "", "=", "=x", "PATH", "HOME"}, []string{"CI_TOKEN"}, []string{path, "HOME=/home"}},
		{[]string{"A=b=c", "D= e "}, nil, []string{"A=b=c", "D= e ", path, "HOME=/home"}},
	} {
		got := environment(Run{Env: test.env, UncachedEnv: test.uncached}, sandbox.User{Home: "/home"})
		if !slices.Equal(got, test.want) {
			t.Errorf("%q and %q: got %q, want %q", test.env, test.uncached, got, test.want)
		}
	}
	env := []string{"A=1", "A=2"}
	environment(Run{Env: env[:1], UncachedEnv: []string{"B=1"}}, sandbox.User{})
	if env[1] != "A=2" {
		t.Error("the caller's array was written to")
	}
}
