package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// defaultTarget is TARGETSTAGE when the target has no name, as in BuildKit.
const defaultTarget = "default"

// platformArgs are the arguments in the global scope that every Dockerfile may use
// without declaring them in its header (Dockerfile reference, "Automatic platform
// ARGs"), with those that BuildKit adds. Build arguments override them.
func platformArgs(args map[string]string, target string, platform platforms.Platform) *Vars {
	host := platforms.DefaultSpec()
	if target == "" {
		target = defaultTarget
	}
	vars := newVars([]string{
		"BUILDPLATFORM=" + platforms.Format(host),
		"BUILDOS=" + host.OS,
		"BUILDOSVERSION=" + host.OSVersion,
		"BUILDARCH=" + host.Architecture,
		"BUILDVARIANT=" + host.Variant,
		"TARGETPLATFORM=" + platforms.FormatAll(platform),
		"TARGETOS=" + platform.OS,
		"TARGETOSVERSION=" + platform.OSVersion,
		"TARGETARCH=" + platform.Architecture,
		"TARGETVARIANT=" + platform.Variant,
		"TARGETSTAGE=" + target,
	})
	for _, name := range vars.Keys() {
		if value, ok := args[name]; ok {
			vars.Set(name, value)
		}
	}
	return vars
}

// headerArgs adds the ARG instructions that stand before the first FROM.
func headerArgs(vars *Vars, header []instructions.ArgCommand, lex *Lex, args map[string]string) (*Vars, error) {
	for _, c := range header {
		for _, kv := range c.Args {
			if value, ok := args[kv.Key]; ok {
				vars.Set(kv.Key, value)
				continue
			}
			if kv.Value == nil {
				continue
			}
			value, _, err := lex.ProcessWord(*kv.Value, vars)
			if err == nil {
				err = vars.checkValue(kv.Key, value)
			}
			if err != nil {
				first, last := lines(c.Location())
				return nil, &Fault{Line: first, End: last, Err: err}
			}
			vars.Set(kv.Key, value)
		}
	}
	return vars, nil
}

// proxies are the predefined arguments: they reach every RUN undeclared, and are
// left out of the history and the cache key (Dockerfile reference, "Predefined
// ARGs").
var proxies = []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}

// ProxyEnv gives the proxy arguments as variables, in upper and in lower case
// whichever was given, as NAME=value. Those of the host count where no argument is.
func (p *Plan) ProxyEnv() []string {
	var env []string
	for _, proxy := range proxies {
		value, given := proxyValue(p.opts.Args, proxy)
		if !given {
			value, _ = proxyValue(p.opts.HostEnv, proxy)
		}
		if value != "" {
			env = append(env, proxy+"="+value, strings.ToLower(proxy)+"="+value)
		}
	}
	return env
}

// proxyValue finds a proxy variable in any case; the lower one counts.
func proxyValue(vars map[string]string, proxy string) (value string, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if strings.EqualFold(name, proxy) {
			value, ok = vars[name], true
		}
	}
	return value, ok
}

// Proxies names the proxy variables in upper and lower case.
func Proxies() []string {
	var names []string
	for _, name := range proxies {
		names = append(names, name, strings.ToLower(name))
	}
	return names
}

// hostnameArg is the argument that names the machine for RUN, as in BuildKit.
const hostnameArg = "BUILDKIT_SANDBOX_HOSTNAME"

// Hostname is the machine's name for RUN; "" is the default.
func (p *Plan) Hostname() string { return p.opts.Args[hostnameArg] }

// buildArgs are BuildKit's own arguments (Dockerfile reference, "BuildKit built-in build
// args", and its frontend). Those that nothing here goes by are accepted, too, so that
// the same command line serves for both.
var buildArgs = []string{
	"BUILDKIT_BUILD_NAME", "BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_CONTEXT_KEEP_GIT_DIR", "BUILDKIT_DOCKERFILE_CHECK", "BUILDKIT_GIT_ADVICE",
	"BUILDKIT_INLINE_CACHE", "BUILDKIT_MULTI_PLATFORM", hostnameArg, "BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE", "BUILDKIT_SYNTAX",
}

// predefined says that a build argument has its use without any ARG naming it.
func predefined(name string) bool {
	if slices.Contains(buildArgs, name) || name == epochArg {
		return true
	}
	if _, ok := platformArgs(nil, "", platforms.Platform{}).Get(name); ok {
		return true
	}
	return slices.ContainsFunc(proxies, func(p string) bool { return strings.EqualFold(p, name) })
}

// unused lists the build arguments that are neither declared nor predefined, and
// what each may have been meant for.
func unused(args map[string]string, declared []string) (names []string, meant map[string]string) {
	meant = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if predefined(name) || slices.Contains(declared, name) {
			continue
		}
		names = append(names, name)
		meant[name] = Nearest(name, slices.Concat(declared, buildArgs))
	}
	return names, meant
}
