package main

import "strings"

// Words that several flags share.
const (
	hostNetwork = "RUN and oakum run have the host's network, and no other yet"
	oneManifest = "oakum makes no manifest lists yet; push an image for each platform and join them, as podman manifest does"
	noAttest    = "there are no attestations yet, only false"
)

// buildForeign are flags of docker build, docker buildx build, podman build and buildah
// build. docs/flags.md is rendered from it.
var buildForeign = []foreignFlag{
	{"--all-platforms", "", []rule{so(refused, oneManifest, "true"), so(holds, "one platform is built", "false")}},
	{"--allow", "ENTITLEMENT", []rule{
		so(holds, "RUN has the host's network", "network.host"),
		so(holds, "a RUN --security=insecure is an error where it stands", "security.insecure"),
		so(holds, "named contexts and secrets are read wherever the command line says", "fs*", "ssh"),
		so(refused, "a RUN gets no more than docs/security.md says"),
	}},
	{"--attest", "TYPE=...", []rule{
		so(holds, "there are no attestations", "type=provenance,disabled=true", "type=sbom,disabled=true"), so(refused, "there are no attestations yet"),
	}},
	{"--builder", "NAME", []rule{so(holds, "oakum itself builds", "default", ""), so(missed, "oakum itself builds, there are no others to choose from")}},
	{"--cache-from", "SOURCE", []rule{so(holds, "nothing is named", ""), so(missed, "the layer cache is in the store and cannot be imported yet; steps that are not in it are run")}},
	{"--cache-to", "DESTINATION", []rule{so(holds, "nothing is named", ""), so(missed, "the layer cache is in the store and cannot be exported yet")}},
	{"--cache-ttl", "DURATION", []rule{so(refused, "steps of any age are taken from the layer cache; --no-cache runs all of them, --no-cache-filter those of some stages")}},
	{"--compress", "", []rule{so(holds, "the context is not sent anywhere")}},
	{"--cpp-flag", "FLAG", []rule{so(refused, "Dockerfiles are not run through the C preprocessor; run cpp before, and give its output by --file -")}},
	{"--created-annotation", "", []rule{so(refused, "no annotation is added unasked; use --annotation org.opencontainers.image.created=TIME", "true"), so(holds, "no annotation is added unasked", "false")}},
	{"--cw", "OPTIONS", []rule{so(refused, "images for confidential workloads are not made")}},
	{"--decryption-key", "KEY", []rule{so(refused, "encrypted images cannot be read")}},
	{"-D, --disable-compression", "", []rule{
		so(holds, "layers are not compressed in the store; a push and --output compress them", "true").without("push", "output"),
		so(refused, "layers are not compressed in the store; a push and --output compress them", "false"),
	}},
	{"--force-rm", "", []rule{so(holds, "no containers are left, whether a build succeeds or fails")}},
	{"--hooks-dir", "DIR", []rule{so(refused, "RUN has no hooks")}},
	{"--identity-label", "", []rule{so(refused, "no label is added unasked; use --label", "true"), so(holds, "no label is added unasked", "false")}},
	{"--inherit-annotations", "", []rule{so(refused, "an image has the annotations of --annotation alone", "true"), so(holds, "an image has the annotations of --annotation alone", "false")}},
	{"--inherit-labels", "", []rule{so(holds, "labels of the base are kept", "true"), so(refused, "labels of the base are kept", "false")}},
	{"--isolation", "TYPE", []rule{
		so(holds, "RUN is isolated by namespaces of its own, in the way of an OCI runtime", "", "default", "oci", "rootless"),
		so(holds, "RUN is isolated by namespaces, which is more", "chroot"),
		so(refused, "RUN is isolated by namespaces of its own, in the way of an OCI runtime"),
	}},
	{"--layers", "", []rule{so(holds, "each step is a layer, and is found again", "true"), so(refused, "each step is a layer; --no-cache runs every step anew", "false")}},
	{"--load", "", []rule{so(holds, "the image is put into the store, which is Podman's too", "true"), so(missed, "the image is put into the store in any case", "false")}},
	{"--logsplit", "", []rule{so(missed, "one platform is built, with one log", "true"), so(holds, "there is one log", "false")}},
	{"--manifest", "NAME", []rule{so(refused, oneManifest)}},
	{"--no-pivot", "", []rule{so(missed, "the root of a RUN is always changed by pivot_root", "true"), so(holds, "the root of a RUN is changed by pivot_root", "false")}},
	{"--omit-history", "", []rule{so(refused, "images have their history", "true"), so(holds, "images have their history", "false")}},
	{"--os-feature", "FEATURE", []rule{so(refused, "these are of Windows images; they are as the base has them")}},
	{"--os-version", "VERSION", []rule{so(refused, "it is of Windows images; it is as the base has it")}},
	{"--policy", "POLICY", []rule{so(refused, "source policies are not known; policy.json says which images are trusted")}},
	{"--print", "METHOD", []rule{so(refused, "it is called --call now")}},
	{"--provenance", "true|false|mode=...", []rule{so(holds, "there are no attestations", "false", "0", "f"), so(refused, noAttest)}},
	{"--rm", "", []rule{so(holds, "no containers are left", "true"), so(missed, "there are no containers that could be kept", "false")}},
	{"--sbom", "true|false|GENERATOR", []rule{so(holds, "there are no attestations", "false", "0", "f"), so(refused, noAttest)}},
	{"--sbom-output, --sbom-image-output, --sbom-purl-output, --sbom-image-purl-output, --sbom-scanner-command, --sbom-scanner-image, --sbom-merge-strategy", "VALUE",
		[]rule{so(refused, "no bill of materials is made; run the scanner on the image")}},
	{"--save-stages", "", []rule{so(refused, "stages in between are in the layer cache only; --target makes an image of one", "true"), so(holds, "stages in between are in the layer cache only", "false")}},
	{"--sign-by", "FINGERPRINT", []rule{so(refused, "images are not signed; skopeo copy or cosign signs what has been pushed")}},
	{"--skip-unused-stages", "", []rule{so(holds, "only what the target needs is built", "true"), so(refused, "only what the target needs is built; --target builds another stage", "false")}},
	{"--source-policy-file", "FILE", []rule{so(refused, "source policies are not known; policy.json says which images are trusted")}},
	{"--squash, --squash-all", "", []rule{so(refused, "each step is a layer; a last stage FROM scratch with COPY --from of all of the one before has one layer", "true"), so(holds, "each step is a layer", "false")}},
	{"--stdin", "", []rule{so(refused, "the standard input of a RUN is empty", "true"), so(holds, "the standard input of a RUN is empty", "false")}},
	{"--stream", "", []rule{so(holds, "the context is read where it is")}},
	{"--transient-run-mounts", "MOUNT", []rule{so(refused, "a RUN sees only what its image has and its own --mount flags name")}},
	{"--unsetannotation", "NAME", []rule{so(holds, "an image has the annotations of --annotation alone")}},
	{"--unsetlabel", "NAME", []rule{so(refused, "labels of the base are kept; --label NAME= empties one")}},
}

// Capabilities that every command has, as root of its image, and others that none has.
// Those between depend on who runs oakum.
const (
	alwaysGiven = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
	neverGiven  = "AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE " +
		"LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE NET_ADMIN NET_BROADCAST PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE SYS_NICE " +
		"SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"
)

// capabilities are names in both of the forms that they are typed in.
func capabilities(names string) []string {
	var all []string
	for _, name := range strings.Fields(names) {
		all = append(all, name, "CAP_"+name)
	}
	return all
}

// sandboxForeign are flags of builds and of run for what commands find around them.
var sandboxForeign = []foreignFlag{
	{"--add-host", "HOST:IP", []rule{so(refused, "/etc/hosts of a RUN is the host's names and cannot be added to yet; name the address instead")}},
	{"--cap-add", "CAPABILITY", []rule{
		so(holds, "commands have it, as by Docker's default", capabilities(alwaysGiven)...),
		so(refused, "commands have no more capabilities than Docker gives by default"),
	}},
	{"--cap-drop", "CAPABILITY", []rule{
		so(holds, "commands never have it", capabilities(neverGiven)...),
		so(refused, "commands have the capabilities that Docker gives by default, and these cannot be made fewer yet"),
	}},
	{"--cgroupns", "private|host", []rule{so(holds, "commands are in oakum's own control group", "host"), so(missed, "commands are in oakum's own control group")}},
	{"--device", "DEVICE", []rule{so(refused, "commands have no devices of the host but null, zero, full, random, urandom and tty")}},
	{"--dns, --dns-option, --dns-opt, --dns-search", "VALUE", []rule{so(refused, "names are resolved as /etc/resolv.conf of the host says")}},
	{"--group-add", "GROUP", []rule{so(refused, "the groups are those that the image's /etc/group gives the user")}},
	{"--ipc", "MODE", []rule{so(holds, "it is private", "", "private"), so(missed, "commands have an IPC namespace of their own", "host", "shareable"), so(refused, "commands have an IPC namespace of their own")}},
	{"--network, --net", "MODE", []rule{
		so(holds, hostNetwork, "", "host", "default"),
		so(refused, "commands have the host's network; nothing keeps them from it", "none"),
		so(refused, hostNetwork),
	}},
	{"--no-hosts", "", []rule{so(refused, "commands have an /etc/hosts with the host's names", "true"), so(holds, "commands have an /etc/hosts with the host's names", "false")}},
	{"--pid", "MODE", []rule{so(holds, "it is private", "", "private"), so(missed, "commands have a PID namespace of their own", "host"), so(refused, "commands have a PID namespace of their own")}},
	{"--runtime", "PROGRAM", []rule{so(holds, "commands are started by oakum itself, as runc does it, with the same result")}},
	{"--runtime-flag", "FLAG", []rule{so(missed, "commands are started by oakum itself, without a runtime's program")}},
	{"--security-opt", "OPTION", []rule{
		so(holds, "commands have no labels and no profiles but the seccomp filter", "label=disable", "label:disable", "apparmor=unconfined", "apparmor:unconfined", "no-new-privileges=false", "no-new-privileges:false"),
		so(holds, "the filter is Docker's", "seccomp=builtin", "seccomp=default"),
		so(refused, "commands always have the seccomp filter that Docker has by default", "seccomp*"),
		so(refused, "commands may use set-uid programs of their image", "no-new-privileges*"),
		so(refused, "what commands may do is as docs/security.md says, and cannot be changed"),
	}},
	{"--shm-size", "SIZE", []rule{so(holds, "/dev/shm has 64 MiB", "", "64m", "64mb", "65536k", "67108864", "0"), so(missed, "/dev/shm has 64 MiB")}},
	{"--userns", "MODE", []rule{so(holds, "ids are mapped as the store's", "", "host"), so(refused, "ids are mapped as the store's, of which oakum info tells")}},
	{"--userns-uid-map, --userns-gid-map, --userns-uid-map-user, --userns-gid-map-group, --uidmap, --gidmap, --subuidname, --subgidname", "MAP", []rule{so(refused, "ids are mapped as the store's, of which oakum info tells")}},
	{"--uts", "MODE", []rule{so(holds, "it is private", "", "private"), so(missed, "commands have a host name of their own", "host"), so(refused, "commands have a host name of their own")}},
	{"-v, --volume", "SOURCE:TARGET", []rule{so(refused, "nothing of the host is mounted; let --build-context NAME=DIR name a directory, and COPY --from=NAME from it")}},
}

// noLimits is why limits are passed over.
const noLimits = "commands have the limits of oakum's own process; systemd-run --user --scope -p MemoryMax=2G oakum ... limits them all"

// limitForeign are flags of builds and of run that limit commands.
var limitForeign = []foreignFlag{
	{"--blkio-weight, --blkio-weight-device, --device-read-bps, --device-read-iops, --device-write-bps, --device-write-iops", "VALUE", []rule{so(missed, noLimits)}},
	{"--cgroup-parent, --cgroup-conf", "VALUE", []rule{so(holds, "nothing is named", ""), so(missed, "commands are in oakum's own control group")}},
	{"-c, --cpu-shares", "N", []rule{so(holds, "there is no limit", "0"), so(missed, noLimits)}},
	{"--cpus, --cpu-period, --cpu-quota, --cpu-rt-period, --cpu-rt-runtime", "N", []rule{so(holds, "there is no limit", "0", "-1"), so(missed, noLimits)}},
	{"--cpuset-cpus, --cpuset-mems", "LIST", []rule{so(holds, "there is no limit", ""), so(missed, noLimits)}},
	{"-m, --memory", "SIZE", []rule{so(holds, "there is no limit", "0", "-1"), so(missed, noLimits)}},
	{"--memory-swap, --memory-reservation, --memory-swappiness, --kernel-memory", "SIZE", []rule{so(holds, "there is no limit", "0", "-1"), so(missed, noLimits)}},
	{"--oom-score-adj, --pids-limit", "N", []rule{so(holds, "there is no limit", "0", "-1"), so(missed, noLimits)}},
	{"--ulimit", "NAME=SOFT:HARD", []rule{so(holds, "commands have the limits of oakum's own process", "host"), so(missed, "commands have the limits of oakum's own process, as the shell's ulimit sets them")}},
}

// contentTrust is Docker's, and podman knows it too.
var contentTrust = []foreignFlag{
	{"--disable-content-trust", "", []rule{so(holds, "policy.json alone says which images are trusted", "true"), so(refused, "Notary is not asked; policy.json says which images are trusted", "false")}},
}
