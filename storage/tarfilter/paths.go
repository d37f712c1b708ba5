package tarfilter

import (
	"hash/maphash"
	"path"
)

// paths is a set of names in an archive, as paths from its root. It has hashes of them: a hostile archive has
// many names of 1 MiB.
type paths struct {
	hashes map[uint64]struct{}
	seed   maphash.Seed
}

func (p *paths) hash(name string) uint64 { return maphash.String(p.seed, path.Clean("/"+name)) }

func (p *paths) add(name string) {
	if p.hashes == nil {
		p.hashes, p.seed = map[uint64]struct{}{}, maphash.MakeSeed()
	}
	p.hashes[p.hash(name)] = struct{}{}
}

func (p *paths) has(name string) bool {
	if len(p.hashes) == 0 {
		return false // and there may be no seed
	}
	_, ok := p.hashes[p.hash(name)]
	return ok
}

func (p *paths) remove(name string) {
	if p.has(name) {
		delete(p.hashes, p.hash(name))
	}
}
