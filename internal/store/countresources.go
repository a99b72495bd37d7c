// SPDX-License-Identifier: Apache-2.0

package store

// CountResources counts the resources that a filter lets through, with those that
// this write has made.
func (w *Writer) CountResources(f ResourceFilter) (int, error) {
	cond, args := f.condition()
	n, err := one(w, scanCount, "count resources", `SELECT count(*) FROM resource`+cond, args...)
	return int(n), w.read(err)
}

// DeleteSealedKey forgets a key of the deployment. One that is not there is no
// error.
func (w *Writer) DeleteSealedKey(name string) error {
	_, err := w.exec("delete key "+name, `DELETE FROM sealed_key WHERE name = $1`, name)
	return err
}
