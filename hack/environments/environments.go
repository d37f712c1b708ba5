//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/isolation"
)

// An environment is a place where oakum has to work.
type environment struct {
	name string
	what string
	// podman are the flags of podman run, for a container. A process has none.
	podman []string
	// rootless says that the test user's podman runs the container, not root's.
	rootless bool
	// nested says that the container is one of an ordinary user's podman in a container of the test user's podman.
	nested bool
	// setpriv are the flags of setpriv, for a process beside all others of the machine.
	setpriv []string
	// env is what the commands' environment has besides a PATH, as NAME=VALUE.
	env []string
	// hostNetwork says that the machine's loopback is the container's too.
	hostNetwork bool
}

// withoutNewuidmap stands for the PATH of a machine without newuidmap and newgidmap.
const withoutNewuidmap = "WITHOUT-NEWUIDMAP"

// dockerProfile stands for the file with Docker's seccomp profile.
const dockerProfile = "seccomp=DOCKER"

// docker is what docker run gives a container's root: no user namespace and no mounts.
func docker(flags ...string) []string {
	all := []string{"--security-opt", dockerProfile, "--cap-drop", "ALL"}
	for _, capability := range isolation.DockerCapabilities() {
		all = append(all, "--cap-add", strings.TrimPrefix(capability, "CAP_"))
	}
	return append(all, flags...)
}

// restricted is what Kubernetes' security standard of that name gives a pod, on a node whose
// pods have the container runtime's seccomp profile: nothing is allowed, and one directory
// can be written to.
func restricted(user string, flags ...string) []string {
	return append([]string{
		"--security-opt", dockerProfile, "--security-opt", "no-new-privileges", "--cap-drop", "ALL",
		"--user", user, "--read-only", "--read-only-tmpfs=false", "--volume", "SCRATCH:/scratch",
	}, flags...)
}

// narrow has little of what builds otherwise take for granted.
var narrow = []string{"--tmpfs", "/tmp:size=64k,mode=1777", "--ulimit", "nofile=256:256", "--ulimit", "nproc=4096:4096"}

// scratchHome is the environment of a pod that keeps everything in its one volume.
var scratchHome = []string{"HOME=/scratch", "TMPDIR=/scratch/tmp"}

var environments = []environment{
	{name: "user", what: "an ordinary user with subordinate ids", setpriv: []string{"--reuid", "USER", "--regid", "USER", "--init-groups"}},
	{name: "no-subids", what: "an ordinary user without subordinate ids", setpriv: []string{"--reuid", "54321", "--regid", "54321", "--clear-groups"}},
	{name: "no-new-privs", what: "an ordinary user with subordinate ids, whose newuidmap gets no rights", setpriv: []string{"--reuid", "USER", "--regid", "USER", "--init-groups", "--no-new-privs"}},
	{name: "no-newuidmap", what: "an ordinary user with subordinate ids and no newuidmap", setpriv: []string{"--reuid", "USER", "--regid", "USER", "--init-groups"}, env: []string{"PATH=" + withoutNewuidmap}},

	{name: "podman", what: "root in podman run, the store on the container's own overlay"},
	{name: "podman-volume", what: "root in podman run, the store on a volume", podman: []string{"--volume", "SCRATCH:/var/lib/containers"}},
	{name: "podman-tmpfs", what: "root in podman run, the store on a tmpfs", podman: []string{"--tmpfs", "/var/lib/containers"}},
	{name: "podman-hostnet", what: "root in podman run, with the machine's network", hostNetwork: true},
	{name: "rootless-podman", what: "root in an ordinary user's podman run", rootless: true},
	{name: "nested-podman", what: "root in an ordinary user's podman run in an ordinary user's podman run", rootless: true, nested: true},

	{name: "docker", what: "root in docker run: Docker's seccomp profile and capabilities", podman: docker()},
	{name: "docker-volume", what: "root in docker run, the store on a volume", podman: docker("--volume", "SCRATCH:/var/lib/containers")},
	{name: "docker-narrow", what: "root in docker run, with a /tmp of 64 KiB, a home that is read-only, and 256 open files", podman: docker(narrow...), env: []string{"HOME=/sys"}},
	{name: "rootless-docker", what: "root in docker run of an ordinary user's Docker, where no devices can be made", rootless: true, podman: docker()},
	{name: "kubernetes-users", what: "root of a pod with a user namespace (hostUsers: false) and SYS_ADMIN in it, the store on a volume", podman: []string{
		"--security-opt", "seccomp=unconfined", "--cap-add", "SYS_ADMIN", "--uidmap", "0:1000000:65536", "--gidmap", "0:1000000:65536", "--security-opt", "unmask=ALL", "--volume", "SCRATCH:/var/lib/containers"}},
	{name: "docker-user", what: "an ordinary user in docker run", podman: []string{"--security-opt", dockerProfile, "--user", "1000:1000", "--tmpfs", "/home/build:mode=1777"}, env: []string{"HOME=/home/build"}},
	{name: "restricted", what: "a pod of Kubernetes' standard \"restricted\", with one volume", podman: restricted("1000:1000"), env: scratchHome},
	{name: "restricted-narrow", what: "a restricted pod with a /tmp of 64 KiB, a home that is read-only, and 256 open files", podman: restricted("1000:1000", narrow...), env: []string{"HOME=/sys", "XDG_DATA_HOME=/scratch"}},
	{name: "openshift", what: "the same for a user without a name and in the group root, HOME and XDG unset, umask 077", podman: restricted("1000660000:0", "--umask", "0077"), env: []string{"TMPDIR=/scratch/tmp", "CONTAINERS_STORAGE_CONF=/etc/containers/scratch.conf"}},
}

// find returns the environment of a name.
func find(name string) (environment, error) {
	i := slices.IndexFunc(environments, func(e environment) bool { return e.name == name })
	if i < 0 {
		return environment{}, fmt.Errorf("there is no environment %q; -list lists them", name)
	}
	return environments[i], nil
}
