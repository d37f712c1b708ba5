package main

// Words that several flags share.
const (
	noAttest = "there are no attestations yet, only false"
)

// buildForeign are flags of docker build, docker buildx build, podman build and buildah
// build. docs/flags.md is rendered from it.
var buildForeign = []foreignFlag{
	{"--all-platforms", "", []rule{so(refused, "name the platforms: --platform linux/amd64,linux/arm64", "true"), so(holds, "the platforms are those that are named", "false")}},
	{"--attest", "TYPE=...", []rule{
		so(holds, "there are no attestations", "type=provenance,disabled=true", "type=sbom,disabled=true"), so(refused, "there are no attestations yet"),
	}},
	{"--builder", "NAME", []rule{so(holds, "oakum itself builds", "default", ""), so(missed, "oakum itself builds, there are no others to choose from")}},
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
	{"--layers", "", []rule{so(holds, "each step is a layer, and is found again", "true"), so(refused, "each step is a layer; --no-cache runs every step anew", "false")}},
	{"--load", "", []rule{so(holds, "the image is put into the store, which is Podman's too", "true"), so(missed, "the image is put into the store in any case", "false")}},
	{"--logsplit", "", []rule{so(missed, "there is one log, whose lines name the platform", "true"), so(holds, "there is one log", "false")}},
	{"--manifest", "NAME", []rule{so(refused, "several platforms make an index, which --tag names: --platform linux/amd64,linux/arm64 --tag NAME")}},
	{"--no-pivot", "", []rule{so(missed, "the root of a RUN is always changed by pivot_root", "true"), so(holds, "the root of a RUN is changed by pivot_root", "false")}},
	{"--os-feature", "FEATURE", []rule{so(refused, "these are of Windows images; they are as the base has them")}},
	{"--os-version", "VERSION", []rule{so(refused, "it is of Windows images; it is as the base has it")}},
	{"--policy", "POLICY", []rule{so(refused, "source policies are not known; policy.json says which images are trusted")}},
	{"--print", "METHOD", []rule{so(refused, "it is called --call now")}},
	{"--privileged", "", []rule{so(refused, "a RUN --security=insecure has all rights, with --allow security.insecure", "true"), so(holds, "RUN has Docker's usual rights", "false")}},
	{"--provenance", "true|false|mode=...", []rule{so(holds, "there are no attestations", "false", "0", "f"), so(refused, noAttest)}},
	{"--rm", "", []rule{so(holds, "no containers are left", "true"), so(missed, "there are no containers that could be kept", "false")}},
	{"--sbom", "true|false|GENERATOR", []rule{so(holds, "there are no attestations", "false", "0", "f"), so(refused, noAttest)}},
	{"--sbom-output, --sbom-image-output, --sbom-purl-output, --sbom-image-purl-output, --sbom-scanner-command, --sbom-scanner-image, --sbom-merge-strategy", "VALUE",
		[]rule{so(refused, "no bill of materials is made; run the scanner on the image")}},
	{"--save-stages", "", []rule{so(refused, "stages in between are in the layer cache only; --target makes an image of one", "true"), so(holds, "stages in between are in the layer cache only", "false")}},
	{"--sign-by", "FINGERPRINT", []rule{so(refused, "images are not signed; skopeo copy or cosign signs what has been pushed")}},
	{"--skip-unused-stages", "", []rule{so(holds, "only what the target needs is built", "true"), so(refused, "only what the target needs is built; --target builds another stage", "false")}},
	{"--source-policy-file", "FILE", []rule{so(refused, "source policies are not known; policy.json says which images are trusted")}},
	{"--stdin", "", []rule{so(refused, "the standard input of a RUN is empty", "true"), so(holds, "the standard input of a RUN is empty", "false")}},
	{"--stream", "", []rule{so(holds, "the context is read where it is")}},
	{"--transient-run-mounts", "MOUNT", []rule{so(refused, "use --mount")}},
}

// sandboxForeign are flags of builds and of run for what commands find around them.
var sandboxForeign = []foreignFlag{
	{"--cgroupns", "private|host", []rule{so(holds, "commands are in oakum's own control group", "host"), so(missed, "commands are in oakum's own control group")}},
	{"--ipc", "MODE", []rule{so(holds, "it is private", "", "private"), so(missed, "commands have an IPC namespace of their own", "host", "shareable"), so(refused, "commands have an IPC namespace of their own")}},
	{"--no-hostname", "", []rule{so(holds, "/etc/hostname is the image's", "true"), so(missed, "/etc/hostname is the image's", "false")}},
	{"--pid", "MODE", []rule{so(holds, "it is private", "", "private"), so(missed, "commands have a PID namespace of their own", "host"), so(refused, "commands have a PID namespace of their own")}},
	{"--runtime", "PROGRAM", []rule{so(holds, "commands are started by oakum itself, as runc does it, with the same result")}},
	{"--runtime-flag", "FLAG", []rule{so(missed, "commands are started by oakum itself, without a runtime's program")}},
	{"--userns", "MODE", []rule{so(holds, "ids are mapped as the store's", "", "host"), so(refused, "ids are mapped as the store's, of which oakum info tells")}},
	{"--userns-uid-map, --userns-gid-map, --userns-uid-map-user, --userns-gid-map-group, --uidmap, --gidmap, --subuidname, --subgidname", "MAP", []rule{so(refused, "ids are mapped as the store's, of which oakum info tells")}},
	{"--uts", "MODE", []rule{so(holds, "it is private", "", "private"), so(missed, "commands have a host name of their own", "host"), so(refused, "commands have a host name of their own")}},
}

// noLimits is why limits are passed over.
const noLimits = "oakum sets no such limit; systemd-run --user --scope -p TasksMax=100 oakum ... limits all commands together"

// limitForeign are flags of builds and of run that limit commands in further ways.
var limitForeign = []foreignFlag{
	{"--blkio-weight, --blkio-weight-device, --device-read-bps, --device-read-iops, --device-write-bps, --device-write-iops", "VALUE", []rule{so(missed, noLimits)}},
	{"--cgroup-conf", "NAME=VALUE", []rule{so(missed, noLimits)}},
	{"--cpu-rt-period, --cpu-rt-runtime", "N", []rule{so(holds, "there is no limit", "0", "-1"), so(missed, noLimits)}},
	{"--memory-reservation, --memory-swappiness, --kernel-memory", "SIZE", []rule{so(holds, "there is no limit", "0", "-1"), so(missed, noLimits)}},
	{"--oom-score-adj, --pids-limit", "N", []rule{so(holds, "there is no limit", "0", "-1"), so(missed, noLimits)}},
}

// contentTrust is Docker's, and podman knows it too.
var contentTrust = []foreignFlag{
	{"--disable-content-trust", "", []rule{so(holds, "policy.json alone says which images are trusted", "true"), so(refused, "Notary is not asked; policy.json says which images are trusted", "false")}},
}
