// Package signatures checks the signatures that a policy.json demands of images: those of GPG (rules
// signedBy) and of sigstore (sigstoreSigned). Imported for that effect alone, as database drivers are,
// it serves package storage in this process; a program that builds imports builder/signatures instead, which
// serves its worker.
//
// It needs the build tag containers_image_openpgp; built without it, it has no effect, and an image that
// must be signed is refused.
package signatures
