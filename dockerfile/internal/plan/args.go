package plan

import (
	"cmp"
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
func platformArgs(args map[string]string, target string, platform platforms.Platform) *vars {
	host := platforms.DefaultSpec()
	if target == "" {
		target = defaultTarget
	}
	known := newVars([]string{
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
	for _, name := range known.Keys() {
		if value, ok := args[name]; ok {
			known.Set(name, value)
		}
	}
	return known
}

// headerArgs does what ARG does before the first FROM: it adds the arguments to known. The
// error is the first one's; the others are added all the same.
func (p *Plan) headerArgs(known *vars, header []instructions.ArgCommand, args map[string]string) (list []Arg, first error) {
	lex := p.lexer()
	for _, c := range header {
		for _, kv := range c.Args {
			a := Arg{Name: kv.Key, Description: kv.DocComment}
			a.Line, a.End = lines(c.Location())
			value, set := args[kv.Key]
			if !set && kv.Value != nil {
				match, err := lex.ProcessWordWithMatches(*kv.Value, known)
				if err == nil {
					err = known.checkValue(kv.Key, match.Result)
				}
				if err != nil {
					first = cmp.Or(first, error(&Fault{Line: a.Line, End: a.End, Err: err}))
					continue
				}
				value, set, a.Uses = match.Result, true, slices.Sorted(maps.Keys(match.Matched))
			}
			if set {
				a.Value = value
				known.Set(kv.Key, value)
			}
			list = append(list, a)
		}
	}
	return list, first
}

// FromNames are the variables that a FROM may use, in order.
func (p *Plan) FromNames() []string {
	names := p.globals.Keys()
	for _, a := range p.Header {
		if !slices.Contains(names, a.Name) {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Global is the value of a variable that FROM sees, or "".
func (p *Plan) Global(name string) string {
	value, _ := p.globals.Get(name)
	return value
}

// DefaultBases are the bases of the stages, in order, as they are when the header's
// arguments have their defaults: up to the first that has a fault.
func (p *Plan) DefaultBases() (bases []string) {
	known := p.automatic.clone()
	_, _ = p.headerArgs(known, p.file.header, nil)
	for _, s := range p.Stages {
		base, _, err := p.lexer().ProcessWord(s.Parsed.BaseName, known)
		if err != nil {
			break
		}
		bases = append(bases, base)
	}
	return bases
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
func proxyValue(in map[string]string, proxy string) (value string, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if strings.EqualFold(name, proxy) {
			value, ok = in[name], true
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

// cacheNamespaceArg is the argument that keeps the caches of RUN --mount apart from those of other
// builds, as in BuildKit.
const cacheNamespaceArg = "BUILDKIT_CACHE_MOUNT_NS"

// buildArgs are BuildKit's own arguments (Dockerfile reference, "BuildKit built-in build
// args", and its frontend). Those that nothing here goes by are accepted, too, so that
// the same command line serves for both.
var buildArgs = []string{
	"BUILDKIT_BUILD_NAME", cacheNamespaceArg, "BUILDKIT_CONTEXT_KEEP_GIT_DIR", "BUILDKIT_DOCKERFILE_CHECK", "BUILDKIT_GIT_ADVICE",
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
