package isolation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oakum-build/oakum/builder/limits"
)

type profile struct {
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet"`
	DefaultErrno     string                   `json:"defaultErrno"` // Podman's name for the number
	Architectures    []specs.Arch             `json:"architectures"`
	ArchMap          []architecture           `json:"archMap"`
	Flags            []specs.LinuxSeccompFlag `json:"flags"`
	ListenerPath     string                   `json:"listenerPath"`
	ListenerMetadata string                   `json:"listenerMetadata"`
	Syscalls         []*rule                  `json:"syscalls"`
}

type architecture struct {
	Arch      specs.Arch   `json:"architecture"`
	SubArches []specs.Arch `json:"subArchitectures"`
}

type rule struct {
	Names    []string                 `json:"names"`
	Name     string                   `json:"name"`
	Action   specs.LinuxSeccompAction `json:"action"`
	ErrnoRet *uint                    `json:"errnoRet"`
	Errno    string                   `json:"errno"` // Podman's name for the number
	Args     []argument               `json:"args"`
	Comment  string                   `json:"comment"`
	Includes *condition               `json:"includes"`
	Excludes *condition               `json:"excludes"`
}

type argument struct {
	Index    uint                       `json:"index"`
	Value    uint64                     `json:"value"`
	ValueTwo uint64                     `json:"valueTwo"`
	Op       specs.LinuxSeccompOperator `json:"op"`
}

type condition struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel *string  `json:"minKernel"`
}

// checkSeccomp gives an error of a text that is no filter in Docker's JSON
// (https://docs.docker.com/engine/security/seccomp/), or says something that would not be done. The
// library that evaluates such texts takes one without any rule for no filter at all, and passes over
// whatever it does not know.
func checkSeccomp(text string) error {
	if len(text) > limits.MaxSeccomp {
		return &limits.LimitError{Name: "the seccomp profile", Limit: limits.MaxSeccomp, Unit: "bytes"}
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	var p *profile
	err := decoder.Decode(&p)
	if err == nil && p == nil {
		err = errors.New("it is null")
	}
	if err == nil {
		if _, end := decoder.Token(); end != io.EOF {
			err = errors.New("something follows its end")
		}
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return fmt.Errorf("%w: seccomp profile: %w", limits.ErrInvalid, err)
	}
	return nil
}

func (p *profile) check() error {
	switch {
	case p.DefaultAction == "":
		return errors.New("it has no defaultAction")
	case p.ListenerPath != "" || p.ListenerMetadata != "":
		return errors.New("no process can be told of calls (listenerPath)")
	case len(p.Architectures) > 0 && len(p.ArchMap) > 0:
		return errors.New("it has architectures and archMap, of which one says what the other does")
	}
	if err := checkAction("defaultAction", p.DefaultAction, p.DefaultErrnoRet, p.DefaultErrno); err != nil {
		return err
	}
	arches := p.Architectures
	for _, a := range p.ArchMap {
		arches = append(append(arches, a.Arch), a.SubArches...)
	}
	for _, a := range arches {
		if !slices.Contains(architectures, a) {
			return fmt.Errorf("there is no architecture %q", a)
		}
	}
	for _, flag := range p.Flags {
		if !slices.Contains(flags, flag) {
			return fmt.Errorf("there is no flag %q here", flag)
		}
	}
	for i, r := range p.Syscalls {
		if r == nil {
			return fmt.Errorf("rule %d is null", i+1)
		}
		if err := r.check(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return nil
}

// callName is what names of system calls look like, in all architectures.
var callName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^_?[a-z][a-z0-9_]{0,62}$`)
})

func (r *rule) check() error {
	names := r.Names
	if r.Name != "" {
		if len(names) > 0 {
			return errors.New("it has names and name, of which one says what the other does")
		}
		names = []string{r.Name}
	}
	if len(names) == 0 {
		return errors.New("it names no system call")
	}
	for _, name := range names {
		if !callName().MatchString(name) {
			return fmt.Errorf("%.64q is no name of a system call", name)
		}
	}
	if err := checkAction("action", r.Action, r.ErrnoRet, r.Errno); err != nil {
		return err
	}
	for _, a := range r.Args {
		switch {
		case a.Index > 5:
			return fmt.Errorf("system calls have the arguments 0 to 5, and no %d", a.Index)
		case !slices.Contains(operators, a.Op):
			return fmt.Errorf("there is no operator %q", a.Op)
		}
	}
	return errors.Join(r.Includes.check(), r.Excludes.check())
}

func (c *condition) check() error {
	if c == nil {
		return nil
	}
	for _, name := range c.Caps {
		if known, err := parseCapability(name); err != nil || known != name {
			return fmt.Errorf("there is no capability %q: they are written like CAP_CHOWN", name)
		}
	}
	if c.MinKernel != nil && !version().MatchString(*c.MinKernel) {
		return fmt.Errorf("%q is no version of the kernel, such as 4.8", *c.MinKernel)
	}
	return nil
}

// version is as those who evaluate it take it: two numbers below 256, not both of them 0.
var version = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([1-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])\.([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$`)
})

// maxErrno is the largest that the kernel gives a program (MAX_ERRNO).
const maxErrno = 4095

func checkAction(what string, action specs.LinuxSeccompAction, errno *uint, name string) error {
	switch {
	case action == specs.ActNotify:
		return fmt.Errorf("%s %s: no process can be told of calls", what, action)
	case !slices.Contains(actions, action):
		return fmt.Errorf("%s: there is no action %q", what, action)
	case name != "" && errno == nil:
		return fmt.Errorf("%s: errno %q needs its number, as errnoRet", what, name)
	case errno != nil && *errno > maxErrno:
		return fmt.Errorf("%s: %d is no errno", what, *errno)
	}
	return nil
}

var (
	actions = []specs.LinuxSeccompAction{
		specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog,
	}
	operators = []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	}
	flags         = []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow}
	architectures = []specs.Arch{
		specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64, specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32,
		specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X,
		specs.ArchRISCV64, specs.ArchLOONGARCH64,
	}
)
