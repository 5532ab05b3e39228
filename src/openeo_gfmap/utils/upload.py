"""Store geometries where a back-end can read them."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import openeo
import requests
from openeo import BaseOpenEoException
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from openeo_gfmap.errors import InputError, InvalidGeometry, MissingCrs, UploadFailed

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["check_store", "upload_geoparquet"]

_TIMEOUT = (10, 120)  # seconds to connect, and between two bytes of the answer
_STORED = (200, 201, 204)
# A PUT may be repeated: it leaves the same file however often it arrives.
_RETRY = Retry(
    total=4,
    connect=2,
    backoff_factor=0.3,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=["PUT"],
    raise_on_status=False,
)


def upload_geoparquet(
    gdf: gpd.GeoDataFrame,
    name: str,
    target: openeo.Connection | str,
    *,
    auth: tuple[str, str] | None = None,
) -> str:
    """Store a GeoDataFrame as GeoParquet and return the URL to load it from.

    Geometries in a projected CRS cannot travel inside a process graph, since GeoJSON knows
    longitude and latitude only; an extraction in exact pixels therefore reads them from a file.

    Parameters
    ----------
    gdf : geopandas.GeoDataFrame
        Geometries in any CRS, with their attributes. The index is not stored.
    name : str
        File name, possibly with folders: "jobs/patches_7.parquet". The suffix is added when
        missing.
    target : openeo.Connection or str
        A connection whose back-end has a file workspace, such as the embedded one; or the base URL
        of a store that takes plain HTTP PUT requests.
    auth : tuple of str, optional
        User and password for basic authentication at such a store.

    Returns
    -------
    str
        URL to pass as spatial context.

    Raises
    ------
    MissingCrs
        When the frame has no CRS.
    InvalidGeometry
        When the frame has no rows, or null or empty geometries.
    InputError
        When the name leaves its folder, or the base URL holds a password: the URL that is returned
        goes into process graphs, which others can read.
    UploadFailed
        When the file could not be stored; the message has the store's answer.
    """
    path = _relative_path(name)
    content = _to_geoparquet(gdf)
    if isinstance(target, openeo.Connection):
        return _put_in_workspace(content, path, target)
    check_store(target)
    return _put(content, f"{target.rstrip('/')}/{quote(str(path))}", auth)


def check_store(address: str) -> None:
    """See to it that files can be put below an address.

    Raises
    ------
    InputError
        When it is no address, or holds a password: it goes into process graphs.
    """
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InputError(
            f"the store {address!r} is no address; expected one such as "
            "'https://store.example.org/windows'."
        )
    if parts.username is not None:
        raise InputError(
            lambda words: (
                f"the address of the store {parts.hostname} holds a user name, which would go into "
                "process graphs with it; "
                + words.either("pass auth=(user, password) instead, or for a recipe ", "")
                + "set the variables OPENEO_GFMAP_UPLOAD_USER and OPENEO_GFMAP_UPLOAD_PASSWORD."
            )
        )


def _relative_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts:
        raise InputError(
            f"{name!r} is not a file name inside the store; pass one such as 'patches_7.parquet'."
        )
    return path if path.suffix == ".parquet" else path.with_name(f"{path.name}.parquet")


def _to_geoparquet(gdf: gpd.GeoDataFrame) -> bytes:
    if gdf.crs is None:
        raise MissingCrs(
            "The geometries have no coordinate reference system; set it with gdf.set_crs(epsg=...)."
        )
    if gdf.empty:
        raise InvalidGeometry("There are no geometries to upload; pass at least one row.")
    bad = gdf.index[gdf.geometry.isna() | gdf.geometry.is_empty].tolist()
    if bad:
        raise InvalidGeometry(
            f"Rows {bad[:20]} ({len(bad)} in all) have a null or empty geometry; drop or repair "
            "them."
        )
    buffer = io.BytesIO()
    gdf.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _put_in_workspace(content: bytes, path: PurePosixPath, connection: openeo.Connection) -> str:
    with TemporaryDirectory() as folder:
        file = Path(folder, path.name)
        file.write_bytes(content)
        try:
            connection.upload_file(file, target=path)
        except (BaseOpenEoException, requests.RequestException) as error:
            raise UploadFailed(
                f"{connection.root_url} did not store {path} ({error}); check that the back-end "
                "has a file workspace and that the connection is authenticated."
            ) from error
    return str(connection.build_url(f"/files/{quote(str(path))}"))


def _put(content: bytes, url: str, auth: tuple[str, str] | None) -> str:
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=_RETRY))
        session.mount("https://", HTTPAdapter(max_retries=_RETRY))
        try:
            response = session.put(
                url,
                data=content,
                headers={"Content-Type": "application/octet-stream"},
                auth=auth,
                timeout=_TIMEOUT,
            )
        except requests.RequestException as error:
            raise UploadFailed(
                f"{url} could not be reached ({error}); check address and network."
            ) from error
    if response.status_code not in _STORED:
        raise UploadFailed(
            f"{url} answered {response.status_code} {response.reason} instead of storing the file: "
            f"{response.text[:500]!r}. Check the address and the credentials in auth=."
        )
    return url
