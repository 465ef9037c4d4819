"""Files that somebody sends: pictures, NIfTI volumes and DICOM series, checked before they are used."""
