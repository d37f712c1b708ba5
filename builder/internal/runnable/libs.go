//go:build linux

package runnable

import (
	"debug/elf"
	"os"
	"path"
	"slices"
	"strings"
)

// machines are the ELF machines of architectures, with Debian's names for their
// directories of libraries.
var machines = map[string]struct {
	machine elf.Machine
	class   elf.Class
	data    elf.Data
	triplet string
}{
	"386":     {elf.EM_386, elf.ELFCLASS32, elf.ELFDATA2LSB, "i386-linux-gnu"},
	"amd64":   {elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, "x86_64-linux-gnu"},
	"arm":     {elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB, "arm-linux-gnueabihf"},
	"arm64":   {elf.EM_AARCH64, elf.ELFCLASS64, elf.ELFDATA2LSB, "aarch64-linux-gnu"},
	"loong64": {elf.EM_LOONGARCH, elf.ELFCLASS64, elf.ELFDATA2LSB, "loongarch64-linux-gnu"},
	"ppc64le": {elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2LSB, "powerpc64le-linux-gnu"},
	"riscv64": {elf.EM_RISCV, elf.ELFCLASS64, elf.ELFDATA2LSB, "riscv64-linux-gnu"},
	"s390x":   {elf.EM_S390, elf.ELFCLASS64, elf.ELFDATA2MSB, "s390x-linux-gnu"},
}

// elder are the architectures whose programs another one may run as well.
var elder = map[string]string{"amd64": "386", "arm64": "arm"}

// archOf gives the architecture of an ELF file, or "".
func archOf(o *object) string {
	for arch, m := range machines {
		if m.machine == o.machine && m.class == o.class && m.data == o.data {
			return arch
		}
	}
	return ""
}

// elf checks an ELF program.
func (k *checker) elf(f *os.File, name string) {
	o, err := parse(f)
	if err != nil || (o.kind != elf.ET_EXEC && o.kind != elf.ET_DYN) || (o.osabi != elf.ELFOSABI_NONE && o.osabi != elf.ELFOSABI_LINUX) {
		return
	}
	arch := archOf(o)
	if arch == "" || machines[k.Arch].machine == elf.EM_NONE {
		return
	}
	if arch != k.Arch && elder[k.Arch] != arch {
		k.report("%s is for %s, and the image for %s", shown(name), arch, k.Arch)
		return
	}
	if o.interp == "" || !path.IsAbs(o.interp) {
		return // static
	}
	linker, _, err := k.open(o.interp)
	if err != nil {
		if isMissing(err) {
			k.report("%s needs the dynamic linker %s, which is not in the image%s", shown(name), shown(o.interp), linkerHint(o.interp))
		}
		return
	}
	defer linker.Close()
	real, err := k.real(linker)
	if err != nil {
		return
	}
	k.libraries(o, f, name, real, arch)
}

// linkerHint says what a missing dynamic linker most likely means.
func linkerHint(interp string) string {
	switch base := path.Base(interp); {
	case strings.HasPrefix(base, "ld-musl-"):
		return ": it is linked with musl, the C library of Alpine"
	case strings.HasPrefix(base, "ld-linux") || strings.HasPrefix(base, "ld64.so") || base == "ld.so.1":
		return ": it is linked with glibc; link it statically (for Go, CGO_ENABLED=0), or use a base image with glibc"
	}
	return ""
}

// library is an object that is loaded, with the one that needs it.
type library struct {
	*object
	dirs []string // $ORIGIN: where it was found, and where it is without links
	name string
	by   *library
}

// loader does what a dynamic linker does with the libraries of a program.
type loader struct {
	*checker
	musl   bool
	like   *object
	env    []string // LD_LIBRARY_PATH
	system []string // where every library is looked for
	loaded []string // names
	queue  []*library
	unsure bool
}

// maxMissing is how many missing libraries are named.
const maxMissing = 5

// libraries checks the shared libraries of a program, as its linker does.
func (k *checker) libraries(o *object, f *os.File, name, linker, arch string) {
	l := &loader{checker: k, like: o, loaded: []string{path.Base(o.interp), path.Base(linker)}}
	switch base := path.Base(linker); {
	case strings.Contains(base, "musl"), strings.Contains(base, "gcompat"):
		l.musl = true
		l.system = l.muslDirs(base)
	case strings.HasPrefix(base, "ld-linux"), strings.HasPrefix(base, "ld-2."), strings.HasPrefix(base, "ld64.so"), base == "ld.so.1":
		l.system = l.glibcDirs(path.Dir(linker), machines[arch].triplet)
	default:
		return
	}
	if value, ok := k.env("LD_LIBRARY_PATH"); ok {
		l.env = l.expand(value, nil)
	}
	program := &library{object: o, name: name, dirs: []string{path.Dir(name)}}
	if real, err := k.real(f); err == nil {
		program.dirs = append(program.dirs, path.Dir(real))
	}
	var missing []string
	for l.queue = []*library{program}; len(l.queue) > 0 && !l.unsure; l.queue = l.queue[1:] {
		by := l.queue[0]
		for _, need := range by.needed {
			if l.load(need, by) || l.unsure {
				continue
			}
			text := shown(need)
			if by != program {
				text += " (of " + shown(by.name) + ")"
			}
			missing = append(missing, text)
		}
	}
	switch {
	case l.unsure || len(missing) == 0:
		return
	case len(missing) > maxMissing:
		missing = append(missing[:maxMissing], "and others")
	}
	noun := "library"
	if len(missing) > 1 {
		noun = "libraries"
	}
	k.report("%s needs the shared %s %s, not found in the image", shown(name), noun, strings.Join(missing, ", "))
}

// load finds a library and queues it; false is one that is certainly missing.
func (l *loader) load(name string, by *library) bool {
	if slices.Contains(l.loaded, name) || (l.musl && ownOfMusl(name)) {
		return true
	}
	l.loaded = append(l.loaded, name)
	if strings.Contains(name, "/") {
		paths := l.expand(name, by)
		return slices.ContainsFunc(paths, func(p string) bool { return l.try(p, by) })
	}
	for _, dir := range l.search(by) {
		if l.mounted(dir) {
			l.unsure = true
			return true
		}
		if l.try(path.Join(dir, name), by) {
			return true
		}
	}
	return false
}

// try loads one file; one of another architecture is passed over, as linkers do.
func (l *loader) try(name string, by *library) bool {
	f, _, err := l.open(name)
	if err != nil {
		l.unsure = l.unsure || !isMissing(err)
		return false
	}
	defer f.Close()
	o, err := parse(f)
	if err != nil {
		l.unsure = true
		return true
	}
	if o.class != l.like.class || o.machine != l.like.machine || o.data != l.like.data {
		return false
	}
	if o.soname != "" {
		l.loaded = append(l.loaded, o.soname)
	}
	lib := &library{object: o, name: name, by: by, dirs: []string{path.Dir(name)}}
	if real, err := l.real(f); err == nil {
		lib.dirs = append(lib.dirs, path.Dir(real))
	}
	l.queue = append(l.queue, lib)
	return true
}

// search lists the directories for what by needs: ld.so(8), and musl's ldso/dynlink.c.
func (l *loader) search(by *library) []string {
	var dirs []string
	if l.musl {
		dirs = slices.Clone(l.env)
		for b := by; b != nil; b = b.by {
			dirs = append(dirs, l.expand(b.rpath, b)...)
			dirs = append(dirs, l.expand(b.runpath, b)...)
		}
		return append(dirs, l.system...)
	}
	if by.runpath == "" {
		for b := by; b != nil; b = b.by {
			if b.runpath == "" {
				dirs = append(dirs, l.expand(b.rpath, b)...)
			}
		}
	}
	dirs = append(dirs, l.env...)
	dirs = append(dirs, l.expand(by.runpath, by)...)
	return append(dirs, l.system...)
}

// expand splits a search path and replaces $ORIGIN. What else linkers replace depends on
// the machine.
func (l *loader) expand(list string, by *library) []string {
	var dirs []string
	for dir := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ':' || r == ';' }) {
		dir = strings.ReplaceAll(dir, "${ORIGIN}", "$ORIGIN")
		switch {
		case !strings.Contains(dir, "$"):
			dirs = append(dirs, dir)
		case by == nil || strings.Contains(strings.ReplaceAll(dir, "$ORIGIN", ""), "$"):
			l.unsure = true
		default:
			for _, origin := range by.dirs {
				dirs = append(dirs, strings.ReplaceAll(dir, "$ORIGIN", origin))
			}
		}
	}
	for i, dir := range dirs {
		dirs[i] = path.Join("/", l.relative(dir), dir)
	}
	return dirs
}

// relative is what a relative path of a search path is relative to.
func (l *loader) relative(dir string) string {
	if path.IsAbs(dir) {
		return ""
	}
	return l.Dir
}

// ownOfMusl says that a name stands for the C library itself in musl.
func ownOfMusl(name string) bool {
	rest, ok := strings.CutPrefix(name, "lib")
	part, _, dot := strings.Cut(rest, ".")
	return ok && dot && slices.Contains([]string{"c", "pthread", "rt", "m", "dl", "util", "xnet"}, part)
}
